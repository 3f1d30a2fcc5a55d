use super::*;

#[test]
fn what_a_script_raises_is_an_exception_of_its_request_with_its_traceback() {
    let Recorded { items, .. } = recorded();
    let item = the(items, "ExceptionData", "R-fail");
    assert_eq!(item["name"], "Microsoft.ApplicationInsights.Exception");
    assert_eq!(data(item)["severityLevel"], "3");
    let exceptions = data(item)["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 1);
    assert_eq!(exceptions[0]["typeName"], "UserScriptException");
    assert_eq!(exceptions[0]["message"], "ValueError: the model's weights are wrong");
    assert_eq!(exceptions[0]["hasFullStack"], true);
    let stack = exceptions[0]["stack"].as_str().unwrap();
    assert!(stack.starts_with("Traceback (most recent call last):\n"), "{stack}");
    assert!(stack.contains("score.py\", line 28, in run\n"), "{stack}");
    assert!(stack.contains("ValueError: the model's weights are wrong"), "{stack}");
    assert_eq!(
        properties(item)["custom_dimensions"],
        "{'Container Id': 'testhost', 'Request Id': 'R-fail', 'Client Request Id': 'C-fail'}"
    );
    let request = the(items, "RequestData", "R-fail");
    assert_eq!(item["tags"]["ai.operation.parentId"], data(request)["id"]);
}

#[test]
fn a_timeout_is_an_exception_of_a_type_of_its_own() {
    let Recorded { items, .. } = recorded();
    let item = the(items, "ExceptionData", "R-sleep");
    assert_eq!(data(item)["exceptions"][0]["typeName"], "UserScriptTimeout");
    let message = data(item)["exceptions"][0]["message"].as_str().unwrap();
    assert!(message.contains("3000"), "{message}");
}

#[test]
fn what_is_no_fault_of_run_is_no_exception() {
    let Recorded { items, .. } = recorded();
    let exceptions = items.iter().filter(|item| item["data"]["baseType"] == "ExceptionData");
    let mut ids: Vec<_> = exceptions.map(|item| properties(item)["Request Id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["R-cut", "R-fail", "R-query", "R-sleep"]);
}

#[test]
fn what_ends_a_component_is_an_exception_of_its_request() {
    let watched = Watched::new();
    let items = watched.record(Serve::guest("panic"), |server| {
        for end in ["well", "panic", "error", "trap", "overflow", "bad_input"] {
            let body = json!({"end": end, "secret": "for the log"}).to_string();
            server.send(&Request::json(body).header("x-request-id", format!("R-{end}")));
        }
    });
    let text = |id: &str| {
        let item = the(&items, "ExceptionData", id);
        assert_eq!(data(item)["exceptions"][0]["typeName"], "UserScriptException", "{id}");
        data(item)["exceptions"][0].to_string()
    };
    for id in ["R-panic", "R-error"] {
        assert!(text(id).contains("the secret is for the log"), "{}", text(id));
    }
    assert!(text("R-trap").contains("wasm trap: "), "{}", text("R-trap"));
    assert!(text("R-overflow").contains("stack"), "{}", text("R-overflow"));
    for id in ["R-well", "R-bad_input"] {
        assert!(of_request(&items, "ExceptionData", id).is_empty(), "{id}");
        the(&items, "RequestData", id);
    }

    let items = watched.record(Serve::guest("spin").args("--timeout 200ms"), |server| {
        server.send(&Request::json(r#"{"spin": true}"#).header("x-request-id", "R-spin"));
    });
    let item = the(&items, "ExceptionData", "R-spin");
    assert_eq!(data(item)["exceptions"][0]["typeName"], "UserScriptTimeout");
}

#[test]
fn an_init_that_fails_is_an_exception_without_a_request_and_the_server_ends_when_it_is_sent() {
    let watched = Watched::new();
    let app = script(
        "def init():\n    print('before it fails')\n    raise RuntimeError('no weights')\n\n\ndef run(data):\n    pass\n",
    );
    let begin = Instant::now();
    let ended = watched.serve(serve_script(&app)).refused();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let items = watched.sink.items();
    assert_eq!(logged(&items, "before it fails").len(), 1, "{items:#?}");
    let item = the(&items, "ExceptionData", "Unknown");
    let exception = &data(item)["exceptions"][0];
    assert_eq!(exception["typeName"], "UserScriptException");
    assert!(exception.to_string().contains("RuntimeError: no weights"), "{exception}");
    assert_eq!(
        properties(item)["custom_dimensions"],
        "{'Container Id': 'testhost', 'Request Id': 'Unknown', 'Client Request Id': ''}"
    );
}
