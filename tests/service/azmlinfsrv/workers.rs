use super::*;

#[test]
fn a_number_of_workers_that_is_none_ends_the_start_with_1() {
    for (count, why) in
        [("abc", "invalid literal for int() with base 10: 'abc'"), ("0", "0 workers"), ("-2", "-2 workers")]
    {
        let ended = guest("echo").env("WORKER_COUNT", count).refused();
        assert_refused(&ended, 1);
        assert!(ended.stderr.contains("WORKER_COUNT") && ended.stderr.contains(why), "{}", ended.stderr);
    }
}

#[test]
fn a_timeout_of_workers_that_is_no_number_of_seconds_ends_the_start_with_2() {
    for timeout in ["soon", "1.5", "-1"] {
        let ended = guest("echo").env("WORKER_TIMEOUT", timeout).refused();
        assert_refused(&ended, 2);
        let why = format!("argument --timeout: invalid value: '{timeout}'");
        assert!(ended.stderr.contains(&why) && ended.stderr.contains("WORKER_TIMEOUT"), "{}", ended.stderr);
    }
}

#[test]
fn run_has_the_lesser_of_the_timeouts_of_scoring_and_of_workers() {
    for (scoring, workers, limit) in [
        (None, Some("1"), 1000),
        (Some("0"), Some("1"), 1000),
        (Some("250"), Some("1"), 250),
        (Some("250"), Some("0"), 250),
        (Some("250"), None, 250),
    ] {
        let mut serve = guest("spin");
        serve = scoring.iter().fold(serve, |serve, value| serve.env("SCORING_TIMEOUT_MS", value));
        serve = workers.iter().fold(serve, |serve, value| serve.env("WORKER_TIMEOUT", value));
        let response = serve.start().score(r#"{"spin": true}"#);
        response.assert_error(500, &format!("Scoring timeout after {limit} ms"));
    }
}

#[test]
fn of_gunicorns_arguments_those_without_effect_are_named_and_the_others_are_used() {
    let server = guest("echo")
        .env("GUNICORN_CMD_ARGS", "--max-requests 5 --keep-alive 1 -k gthread --config='a file'")
        .env("WORKER_PRELOAD", "true")
        .start();
    let line = server.logged("has no effect here: ");
    for name in ["WORKER_PRELOAD", "--max-requests of", "-k of", "--config of GUNICORN_CMD_ARGS"] {
        assert!(line.contains(name), "no {name} in {line}");
    }
    assert!(!line.contains("--keep-alive"), "{line}");
    let mut kept = server.connect();
    assert_eq!(kept.send(&Request::get("/")).unwrap().status, 200);
    assert!(kept.readable_within(PATIENCE).unwrap(), "it is closed when it has been idle for a second");
    assert_eq!(kept.read_to_end().unwrap(), b"");

    for (arguments, why) in [("--config 'a", "a quote is not closed"), ("--threads x", "--threads needs a number")] {
        let ended = guest("echo").env("GUNICORN_CMD_ARGS", arguments).refused();
        assert_refused(&ended, 1);
        assert!(ended.stderr.contains("GUNICORN_CMD_ARGS") && ended.stderr.contains(why), "{}", ended.stderr);
    }
}
