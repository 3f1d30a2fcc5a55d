use super::*;

#[test]
fn a_script_sees_what_the_contract_names_and_what_is_passed_on_and_its_prints_and_ends_are_in_the_log() {
    let app = folder(&[("score.py", PROBE)]);
    let server = in_python(app.path())
        .args("--entry_script score.py --rest")
        .env("SCOREBOX_PRINT_REQUEST_ID", "true")
        .env("SCOREBOX_PASS_ENV", "PASSED,NOT_THERE")
        .env("PASSED", "on")
        .env("HIDDEN", "secret")
        .start();
    let names = ["PASSED", "NOT_THERE", "HIDDEN", "AML_APP_INSIGHTS_ENABLED", "AZUREML_MODEL_DIR"];
    let more = ["WORKER_COUNT", "SERVER_PORT", "HEALTH_PORT", "TRANSPORT_PROTOCOL", "HTTP_X_MS_SERVER_VERSION"];
    let names = [&names[..], &more].concat();
    let seen = server.score(&json!({ "names": names }).to_string()).json();
    let port = server.address().port().to_string();
    assert_eq!(
        seen,
        json!({
            "PASSED": "on",
            "NOT_THERE": null,
            "HIDDEN": null,
            "AML_APP_INSIGHTS_ENABLED": "false",
            "AZUREML_MODEL_DIR": null,
            "WORKER_COUNT": "1",
            "SERVER_PORT": port,
            "HEALTH_PORT": port,
            "TRANSPORT_PROTOCOL": "rest",
            "HTTP_X_MS_SERVER_VERSION": "azmlinfsrv/1.5.1",
        })
    );

    prints_begin_with_the_id(&server);
    an_exit_is_answered_with_a_page(&server);
    assert_eq!(server.score("{}").json(), "done");
}

fn prints_begin_with_the_id(server: &Server) {
    let request = Request::json(r#"{"text": "two\nlines"}"#).header("x-request-id", "id-of-print");
    assert_eq!(server.send(&request).status, 200);
    assert_eq!(record(&server.logged("two")), "I azmlinfsrv.print - id-of-print,two");
    let of_init = server.logged("init ran");
    assert_eq!(record(&of_init), "I azmlinfsrv.print - 00000000-0000-0000-0000-000000000000,init ran");
}

fn an_exit_is_answered_with_a_page(server: &Server) {
    for code in ["0", "3", "\"a reason\""] {
        let request = Request::json(format!(r#"{{"exit": {code}}}"#)).header("x-request-id", "id-of-exit");
        let response = server.send(&request);
        assert_page(&response, 500, "Internal Server Error", "");
        assert!(!response.text().contains("a reason"));
    }
    server.logged("SystemExit: a reason");
    let log = server.log();
    let tracebacks = log
        .iter()
        .filter(|line| record(line) == "E azmlinfsrv - Encountered Exception: Traceback (most recent call last):");
    assert_eq!(tracebacks.count(), 3, "{log:#?}");
    for end in ["SystemExit: 0", "SystemExit: 3", "SystemExit: a reason"] {
        assert!(log.iter().any(|line| line == end), "no {end:?} in {log:#?}");
    }
}
