//! What a script says is in the log.

use scorebox_tests::Request;

use crate::start;

#[test]
fn what_a_script_says_is_in_the_log_in_each_way_that_python_has() {
    let server = start("says");
    assert_eq!(server.score(r#"{"text": "A-1"}"#).json(), "said");
    for (text, level, logger) in [
        ("said while the script is imported", " I [", "azmlinfsrv.print"),
        ("said in init()", " I [", "azmlinfsrv.print"),
        ("logged in init()", " I [", "azmlinfsrv"),
        ("printed A-1", " I [", "azmlinfsrv.print"),
        ("printed to standard error A-1", "", ""),
        ("written A-1", "", ""),
        ("written to standard error A-1", "", ""),
        ("logged A-1", " I [", "azmlinfsrv"),
        ("logged below A-1", " W [", "azmlinfsrv.child"),
        ("WARNING:root:logged at the root A-1", "", ""),
        ("UserWarning: warned A-1", "", ""),
        ("an exception A-1", " E [", "azmlinfsrv"),
        ("ValueError: caught A-1", "", ""),
    ] {
        let line = server.logged(text);
        assert!(line.contains(level), "{line}");
        assert!(logger.is_empty() || line.contains(&format!(" {logger} - ")), "{line}");
    }
    assert!(!server.log().iter().any(|line| line.contains("too low")), "{:#?}", server.log());
}

#[test]
fn every_record_of_a_request_has_the_id_of_the_request_and_no_other() {
    let server = crate::serve(&crate::folder("says")).args("--log-format json").start();
    for id in ["id-one", "id-two"] {
        let request = Request::json(format!(r#"{{"text": "of {id}"}}"#)).header("x-request-id", id);
        assert_eq!(server.send(&request).status, 200);
    }
    for id in ["id-one", "id-two"] {
        for text in ["printed of ", "logged of ", "written of ", "warned of ", "caught of "] {
            let line = server.logged(&format!("{text}{id}"));
            let record: serde_json::Value = serde_json::from_str(&line).expect("a record is JSON");
            assert!(record.to_string().contains(&format!(r#""{id}""#)), "{record}");
        }
    }
}

#[test]
fn ids_that_are_not_ascii_are_the_same_to_a_script_and_in_the_log() {
    let server = crate::serve(&crate::folder("says")).args("--log-format json").start();
    let request = Request::json(r#"{"text": "of ids"}"#);
    let request = request.header("x-request-id", b"r-\xe9").header("x-ms-client-request-id", b"c-\xff");
    assert_eq!(server.send(&request).status, 200);
    let line = server.logged(r"ids r-\u00e9 c-\u00ff");
    let record: serde_json::Value = serde_json::from_str(&line).expect("a record is JSON");
    assert_eq!((&record["request_id"], &record["client_request_id"]), (&"r-é".into(), &"c-ÿ".into()), "{record}");
}
