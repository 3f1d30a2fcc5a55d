use super::*;

#[test]
fn prints_and_the_loggers_that_are_exported_belong_to_their_request() {
    let Recorded { items, .. } = recorded();
    let request = the(items, "RequestData", "R-log");
    for (message, level) in [
        ("asked for log", "1"),
        ("two\nlines 5 {'a': 1}", "1"),
        ("of the print logger", "2"),
        ("of the trace logger", "3"),
    ] {
        let found = logged(items, message);
        assert_eq!(found.len(), 1, "{message}: {found:#?}");
        let item = found[0];
        assert_eq!(item["name"], "Microsoft.ApplicationInsights.Message");
        assert_eq!(item["data"]["baseType"], "MessageData");
        assert_eq!(data(item)["severityLevel"], level, "{message}");
        assert_eq!(item["tags"]["ai.operation.id"], request["tags"]["ai.operation.id"]);
        assert_eq!(item["tags"]["ai.operation.parentId"], data(request)["id"]);
        assert_eq!(properties(item)["Request Id"], "R-log");
        assert_eq!(properties(item)["Client Request Id"], "C-log");
        for name in ["code.file.path", "code.function.name", "code.line.number"] {
            assert!(properties(item)[name].is_string(), "no {name} in {item}");
        }
    }
}

#[test]
fn what_is_said_before_any_request_belongs_to_none() {
    let Recorded { items, .. } = recorded();
    for message in ["init ran", "Model directory is not set or does not exist: "] {
        let found = logged(items, message);
        assert_eq!(found.len(), 1, "{message}: {found:#?}");
        assert_eq!(found[0]["tags"]["ai.operation.id"], "0".repeat(32));
        assert_eq!(properties(found[0]).get("Request Id"), None);
    }
}

#[test]
fn other_loggers_and_standard_error_are_not_exported() {
    let Recorded { items, ended, .. } = recorded();
    for text in ["of the server's logger", "of another logger", "of standard error"] {
        assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
        assert!(!items.iter().any(|item| item.to_string().contains(text)), "{text}");
    }
}
