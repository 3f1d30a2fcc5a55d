//! The files of a script: its own and its model's to read, and `/tmp` to write.

use scorebox_tests::Server;
use serde_json::{Value, json};

use crate::{answer, folder, serve};

/// Bytes and entries that `/tmp` may have.
const TEMPORARY: u64 = 128 << 20;
const ENTRIES: u64 = 10_000;

fn start() -> Server {
    let folder = folder("files");
    serve(&folder).arg("--model_dir").arg(folder.join("model")).start()
}

fn act(server: &Server, action: &str) -> Value {
    answer(server, &json!({ "action": action }))
}

#[test]
fn files_beside_the_script_and_of_the_model_can_be_read_in_init_and_in_run() {
    let files = json!({"beside": "a file beside the script\n", "model": "a file of the model\n"});
    assert_eq!(act(&start(), "read"), json!({"in init": files, "in run": files}));
}

#[test]
fn files_of_the_host_are_not_there() {
    for (path, read) in act(&start(), "foreign").as_object().expect("an answer for each path") {
        assert_eq!(read, "FileNotFoundError: No such file or directory", "{path}");
    }
}

#[test]
fn nothing_but_temporary_files_can_be_changed() {
    for (action, result) in act(&start(), "change").as_object().expect("an answer for each action") {
        assert_eq!(result, "OSError: Read-only file system", "{action}");
    }
}

#[test]
fn temporary_files_are_gone_with_the_request_and_those_of_init_are_always_there() {
    let server = start();
    for _ in 0..3 {
        assert_eq!(act(&server, "temporary"), json!(["from-init"]));
        assert_eq!(answer(&server, &json!({"action": "keep", "name": "of-a-request"})), 4);
        assert_eq!(act(&server, "named"), 10);
    }
}

#[test]
fn temporary_files_have_a_limit() {
    let server = start();
    for _ in 0..2 {
        let filled = answer(&server, &json!({"action": "fill", "size": 10 * TEMPORARY}));
        assert_eq!(filled["error"], "No space left on device");
        let written = filled["written"].as_u64().expect("a number of bytes");
        assert!((TEMPORARY / 2..=TEMPORARY).contains(&written), "{written} bytes");
        let crowded = answer(&server, &json!({"action": "crowd", "most": 2 * ENTRIES}));
        // One is there from `init()`.
        assert_eq!(crowded, json!({"made": ENTRIES - 1, "error": "No space left on device"}));
    }
    assert_eq!(act(&server, "temporary"), json!(["from-init"]));
}

#[test]
fn a_script_sees_the_environment_of_the_contract_and_nothing_of_the_hosts() {
    let folder = folder("files");
    let server = serve(&folder).arg("--model_dir").arg(folder.join("model")).env("SECRET_OF_THE_HOST", "s-31").start();
    let environment = act(&server, "environment");
    let names: Vec<_> = environment.as_object().expect("variables").keys().collect();
    for name in ["AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT", "AZUREML_MODEL_DIR"] {
        assert!(environment[name].as_str().is_some_and(|path| path.starts_with('/')), "{name}: {names:?}");
    }
    assert!(!environment.to_string().contains("s-31"), "{environment}");
    assert!(!environment.to_string().contains(folder.to_str().expect("a path in UTF-8")), "{environment}");
}
