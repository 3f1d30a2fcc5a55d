use super::*;

#[test]
fn without_an_entry_script_main_py_of_the_app_folder_is_served_with_modules_of_the_source_directory() {
    let app = folder(&[
        ("app/main.py", "import helper\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return helper.ANSWER\n"),
        ("app/lib/helper.py", "ANSWER = 'from the source directory'\n"),
        ("settings.json", r#"{"AML_SOURCE_DIRECTORY": "lib"}"#),
    ]);
    let serve = in_python(app.path()).args("--config_file settings.json").env("AML_APP_ROOT", app.path().join("app"));
    let server = serve.start();
    server.logged("Entry Script Name: None");
    assert_eq!(server.score("{}").json(), "from the source directory");

    fs::remove_file(app.path().join("app/main.py")).unwrap();
    let ended = serve.refused();
    assert_refused(&ended, 3);
    let log = records(&ended);
    for line in [
        "E azmlinfsrv - No score script found. Expected score script main.py.",
        "E azmlinfsrv - Current contents of AML_APP_ROOT: ['lib']",
    ] {
        assert!(log.iter().any(|other| other == line), "no {line:?} in {log:#?}");
    }
}

#[test]
fn a_script_that_is_not_there_is_said_to_be_missing_and_ends_the_start_with_3() {
    let app = folder(&[("other.py", "")]);
    let ended = in_python(app.path()).args("--entry_script score.py").refused();
    assert_refused(&ended, 3);
    let log = records(&ended);
    let at = log.iter().position(|line| line == "E azmlinfsrv - No such file or directory.");
    let at = at.unwrap_or_else(|| panic!("{log:#?}"));
    assert!(log[at + 1].starts_with("E azmlinfsrv - ") && log[at + 1].contains("score.py"), "{log:#?}");
}

#[test]
fn openapi_documents_in_the_app_folder_are_served_in_place_of_the_servers_own() {
    let app = folder(&[("swagger.json", r#"{"my": 2}"#), ("swagger3.1.json", r#"{"my": [3.1]}"#)]);
    let server = guest("echo").env("AML_APP_ROOT", app.path()).start();
    let document = |version: &str| server.get(&format!("/swagger.json?version={version}")).json();
    assert_eq!(document("2"), json!({"my": 2}));
    assert_eq!(document("3.1"), json!({"my": [3.1]}));
    assert_eq!(document("3")["openapi"], "3.0.3");
}

#[test]
fn an_openapi_document_that_is_no_json_ends_the_start_with_3_and_its_name() {
    let app = folder(&[("swagger3.json", "{")]);
    let ended = guest("echo").env("AML_APP_ROOT", app.path()).refused();
    assert_refused(&ended, 3);
    assert!(ended.stderr.contains("swagger3.json"), "{}", ended.stderr);
}
