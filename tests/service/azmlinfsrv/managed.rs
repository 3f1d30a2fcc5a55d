use super::*;

#[track_caller]
fn assert_model_error(response: &Response, status: &str) {
    assert_eq!(response.status, 424, "{response:?}");
    assert_eq!(response.header("ms-azureml-model-error-statuscode"), Some(status));
    assert_eq!(response.header("ms-azureml-model-error-reason"), Some("model_error"));
    assert!(response.header("x-request-id").is_some());
}

#[test]
fn what_a_model_gets_wrong_is_a_424_that_says_what_the_model_said() {
    let server = guest("panic").env("SCOREBOX_MANAGED", "true").start();
    let response = server.score(r#"{"end": "error", "secret": "s"}"#);
    assert_model_error(&response, "500");
    let message = "An unexpected error occurred in scoring script. Check the logs for more info.";
    assert_eq!(response.json(), json!({ "message": message }));
    let response = server.score(r#"{"end": "bad_input", "secret": "for the client"}"#);
    assert_model_error(&response, "400");
    assert_eq!(response.json(), json!({"message": "for the client"}));
    let response = server.score(r#"{"end": "well"}"#);
    assert_eq!((response.status, response.header("ms-azureml-model-error-statuscode")), (200, None));
    assert_eq!(server.get("/nothing").status, 404);

    let server = guest("flood").env("SCOREBOX_MANAGED", "true").start();
    let response = server.score(r#"{"status": 503, "body_bytes": 3}"#);
    assert_model_error(&response, "503");
    assert_eq!(response.body.len(), 3);
}

#[test]
fn a_model_that_takes_too_long_is_a_408_and_past_twice_the_workers_requests_are_a_429() {
    let server = guest("spin")
        .env("SCOREBOX_MANAGED", "true")
        .env("SCORING_TIMEOUT_MS", "1500")
        .args("--worker_count 2")
        .start();
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write(&Request::json(r#"{"spin": true}"#).to_bytes()).unwrap();
    }
    let responses = clients.iter_mut().map(|client| client.read().expect("every request is answered"));
    let (busy, slow): (Vec<_>, Vec<_>) = responses.partition(|response| response.status == 429);
    assert_eq!((busy.len(), slow.len()), (1, 4), "{slow:?}");
    assert_eq!(busy[0].header("retry-after"), Some("1"));
    for response in slow {
        response.assert_error(408, "Scoring timeout after 1500 ms");
        assert_eq!(response.header("ms-azureml-model-error-statuscode"), None);
    }
    assert_eq!(server.score(r#"{"spin": false}"#).status, 200);
}
