//! What there is not in the sandbox is refused with an exception that says so.

use serde_json::json;

use crate::{answer, start};

#[test]
fn network_processes_and_threads_are_refused_with_a_reason() {
    let server = start("forbidden");
    for (action, kind, text) in [
        ("socket", "gaierror", "a sandboxed scorer has no network"),
        ("listen", "OSError", "a sandboxed scorer has no network"),
        ("resolve", "gaierror", "a sandboxed scorer has no network"),
        ("url", "URLError", "a sandboxed scorer has no network"),
        ("subprocess", "OSError", "a sandboxed scorer cannot start processes"),
        ("system", "OSError", "a sandboxed scorer cannot start processes"),
        ("process", "OSError", "a sandboxed scorer cannot start processes"),
        ("process pool", "OSError", "a sandboxed scorer cannot start processes"),
        ("fork", "AttributeError", "fork"),
        ("thread", "RuntimeError", "a sandboxed scorer has one thread"),
        ("thread pool", "RuntimeError", "a sandboxed scorer has one thread"),
    ] {
        let refused = answer(&server, &json!({ "action": action }));
        assert!(refused["text"].as_str().is_some_and(|said| said.contains(text)), "{action}: {refused}");
        assert_eq!(refused["type"], kind, "{action}: {refused}");
    }
}
