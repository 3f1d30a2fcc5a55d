//! Where the log goes cannot take it.

use rustix::process::Signal;

use super::*;

/// Started by a shell with other standard streams.
fn with(redirections: &str) -> Serve {
    let script = format!(r#"trap "" XFSZ; exec "$@" {redirections}"#);
    Serve::example("iris-rust").under(["sh", "-c", &script, "sh"])
}

#[test]
fn a_server_whose_log_and_errors_nobody_can_take_serves_and_ends_well() {
    for redirections in [
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "</dev/null >&- 2>&- <&-",
        // A reader that is gone.
        "> >(true)",
    ] {
        let serve = if redirections.contains('(') {
            let script = format!(r#"exec "$@" {redirections}"#);
            Serve::example("iris-rust").under(["bash", "-c", &script, "bash"])
        } else {
            with(redirections)
        };
        let (process, address) = start_silent(&serve);
        let mut client = Client::connect(address).unwrap();
        for _ in 0..50 {
            let response = client.send(&Request::json(IRIS)).unwrap();
            assert_eq!((response.status, response.json()["prediction"][0].as_str()), (200, Some("setosa")));
            assert_eq!(client.send(&Request::json("{")).unwrap().status, 400);
        }
        drop(client);
        process.signal(Signal::TERM);
        let ended = process.wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{redirections}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{redirections}: {}", ended.stderr);
    }
}

#[test]
fn what_is_refused_has_its_exit_code_also_where_nobody_can_be_told_why() {
    let folder = folder();
    let module = folder.path().join("no.wasm");
    fs::write(&module, "no module").unwrap();
    for redirections in ["2>/dev/full", "2>&-", ">/dev/full 2>/dev/full", ">&- 2>&-"] {
        let script = format!(r#"exec "$@" {redirections}"#);
        let ended = Serve::new(&module).under(["sh", "-c", &script, "sh"]).refused();
        assert_eq!(ended.code, Some(3), "{redirections}: {ended:?}");
    }
}

#[test]
fn a_log_that_could_not_be_written_for_a_while_goes_on_when_it_can_be() {
    let folder = folder();
    let log = folder.path().join("log");
    let (process, address) = start_silent(&with(&format!(">>{}", log.display())));
    let text = || fs::read_to_string(&log).unwrap();
    let limit = |size: &str| {
        let id = process.id().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={size}")]).status().unwrap();
        assert!(status.success());
    };
    let mut client = Client::connect(address).unwrap();
    let mut score = |id: &str| {
        let request = Request::json(IRIS).header("user-agent", id);
        assert_eq!(client.send(&request).unwrap().status, 200);
    };
    score("at-first");
    eventually(PATIENCE, "it is logged", || text().contains("at-first"));
    // The soft limit alone: it can be raised again by anybody.
    limit("0:unlimited");
    let before = text();
    (0..2_000).for_each(|_| score("meanwhile"));
    assert_eq!(text(), before, "nothing could be written");
    limit("unlimited:unlimited");
    score("afterwards");
    eventually(PATIENCE, "the log goes on", || text().contains("afterwards"));
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
    assert!(text().contains("all requests are answered"));
}
