use super::*;

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let folder = folder(&[
        ("line.json", r#"{"SERVICE_NAME": "file", "SERVICE_VERSION": "file", "AML_CORS_ORIGINS": "http://file.test"}"#),
        ("environment.json", r#"{"SERVICE_VERSION": "file of the environment"}"#),
    ]);
    let server = Serve::azmlinfsrv()
        .in_folder(folder.path())
        .env("AZUREML_ENTRY_SCRIPT", "nothing.wasm")
        .env("AZUREML_CONFIG_FILE", "environment.json")
        .env("SERVICE_NAME", "environment")
        .env("AML_CORS_ORIGINS", "http://environment.test")
        .args("--config_file line.json --access_control_allow_origins http://line.test --entry_script")
        .arg(fixtures::guest("echo"))
        .start();
    let info = &server.get("/swagger.json").json()["info"];
    assert_eq!((&info["title"], &info["version"]), (&json!("environment"), &json!("file")));
    let allowed = |origin: &str| {
        let response = server.send(&Request::json("{}").header("origin", origin));
        response.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(allowed("http://line.test").as_deref(), Some("http://line.test"));
    assert_ne!(allowed("http://environment.test").as_deref(), Some("http://environment.test"));
}

#[test]
fn the_configuration_file_is_the_one_that_is_named_else_that_of_the_app_folder_else_the_one_beside_the_script() {
    const NAMES: [(&str, &str); 4] = [
        ("app/config.json", r#"{"SERVICE_NAME": "app folder"}"#),
        ("script/config.json", r#"{"SERVICE_NAME": "beside the script"}"#),
        ("named.json", r#"{"SERVICE_NAME": "named"}"#),
        ("empty.json", ""),
    ];
    let folder = folder(&NAMES);
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    let script = folder.path().join("script/echo.wasm");
    fs::copy(fixtures::guest("echo"), &script).unwrap();
    for (current, app_root, named, expected) in [
        ("app", None, None, "app folder"),
        ("elsewhere", Some("app"), None, "app folder"),
        ("elsewhere", None, None, "beside the script"),
        ("elsewhere", Some("elsewhere"), None, "beside the script"),
        ("app", None, Some("named.json"), "named"),
        ("app", None, Some("missing.json"), "app folder"),
        ("elsewhere", None, Some("missing.json"), "beside the script"),
        ("app", None, Some("empty.json"), "app folder"),
    ] {
        let path = |name: &str| folder.path().join(name);
        let mut serve = Serve::azmlinfsrv().in_folder(path(current)).arg("--entry_script").arg(&script);
        serve = app_root.iter().fold(serve, |serve, name| serve.env("AML_APP_ROOT", path(name)));
        serve = named.iter().fold(serve, |serve, name| serve.arg("--config_file").arg(path(name)));
        assert_eq!(title(&serve.start()), expected, "in {current}, with {app_root:?} and {named:?}");
    }
}

#[test]
fn keys_of_the_file_that_are_no_settings_are_named_in_the_log_and_do_no_harm() {
    let folder = folder(&[("config.json", r#"{"SERVICE_NAME": "x", "service_version": "9", "COLOUR": null}"#)]);
    let server = guest("echo").in_folder(folder.path()).start();
    let line = server.logged("Found extra keys in the config file that are not supported by the server.");
    assert!(line.contains(" W ["), "{line}");
    server.logged("Extra keys = ['service_version', 'COLOUR']");
    assert_eq!(server.get("/swagger.json").json()["info"]["version"], "1.0");
}

#[test]
fn the_names_that_are_documented_are_taken_and_case_does_not_matter_in_the_environment() {
    let buffer = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = Serve::azmlinfsrv()
        .env("AML_ENTRY_SCRIPT", fixtures::guest("echo"))
        .env("SEPARATE_HEALTH_ENDPOINT", "true")
        .env("AML_APPINSIGHTS_ENABLED", "true")
        .env("AML_APP_INSIGHTS_KEY", KEY)
        .env("AML_APP_INSIGHTS_ENDPOINT", "http://127.0.0.1:9")
        .env("SCOREBOX_TELEMETRY_BUFFER", buffer.path())
        .env("service_name", "small letters")
        .arg("--health_port")
        .arg(port.to_string())
        .start();
    assert_eq!(title(&server), "small letters");
    server.logged("Application Insights Enabled: true");
    server.logged(&format!("Health Port: {port}"));
}

#[test]
fn a_value_of_another_kind_ends_the_start_with_3_and_a_critical_record() {
    const INTEGER: &str = "Input should be a valid integer";
    const BOOLEAN: &str = "Input should be a valid boolean";
    let of_file = |name: &str, value: Value| {
        let folder = folder(&[("config.json", &json!({name: value}).to_string())]);
        guest("echo").in_folder(folder.path()).refused()
    };
    let of_environment = |name: &str, value: &str| guest("echo").env(name, value).refused();
    for (ended, name, why) in [
        (
            of_environment("SCORING_TIMEOUT_MS", "abc"),
            "SCORING_TIMEOUT_MS",
            format!("{INTEGER}, unable to parse string as an integer"),
        ),
        (
            of_file("SCORING_TIMEOUT_MS", json!("1.5")),
            "SCORING_TIMEOUT_MS",
            format!("{INTEGER}, unable to parse string as an integer"),
        ),
        (
            of_environment("APP_INSIGHTS_LOG_RESPONSE_ENABLED", "maybe"),
            "APP_INSIGHTS_LOG_RESPONSE_ENABLED",
            format!("{BOOLEAN}, unable to interpret input"),
        ),
        (of_file("SERVICE_VERSION", json!(2)), "SERVICE_VERSION", "Input should be a valid string".to_owned()),
    ] {
        assert_refused(&ended, 3);
        let log = records(&ended);
        let at = log.iter().position(|line| line == "C azmlinfsrv - ").unwrap_or_else(|| panic!("{log:#?}"));
        assert_eq!(
            log[at + 1..at + 4],
            [
                "===============Configuration Error=================".to_owned(),
                format!("{name}: {why} (environment variable: {name})"),
                "===================================================".to_owned(),
            ]
        );
    }
}

#[test]
fn a_configuration_file_that_is_no_json_object_ends_the_start_with_3_and_its_name() {
    for text in ["{", "[1]", "\"x\"", "\u{feff}", "{\"SERVICE_NAME\": \"x\""] {
        let folder = folder(&[("given.json", text)]);
        let ended = guest("echo").in_folder(folder.path()).args("--config_file given.json").refused();
        assert_refused(&ended, 3);
        let log = records(&ended);
        let said = log.iter().find(|line| line.starts_with("C azmlinfsrv - Invalid config file!"));
        assert!(said.is_some_and(|line| line.contains("given.json")), "{text}: {log:#?}");
    }
}

#[test]
fn health_has_a_port_of_its_own_that_serves_everything_when_it_is_asked_for() {
    let port = free_port();
    let serve = guest("echo").arg("--health_port").arg(port.to_string());
    let connect = || Client::connect(([127, 0, 0, 1], port).into());
    for off in [None, Some("True"), Some("false")] {
        let serve = off.iter().fold(serve.clone(), |serve, value| serve.env("SEPERATE_HEALTH_ENDPOINT", value));
        let server = serve.start();
        assert_eq!(server.get("/").text(), "Healthy");
        assert!(connect().is_err(), "{off:?}");
    }
    let server = serve.env("SEPERATE_HEALTH_ENDPOINT", "true").start();
    assert_eq!(server.get("/").text(), "Healthy");
    server.logged("ready for serving traffic");
    let mut health = connect().unwrap();
    assert_eq!(health.send(&Request::get("/")).unwrap().text(), "Healthy");
    let scored = health.send(&Request::score("through the other port")).unwrap();
    assert_eq!(scored.json()["body"], "through the other port");
    assert_eq!(server.stop().code, Some(0), "both listeners end");
}

#[test]
fn a_file_that_nobody_names_neither_reads_other_folders_nor_says_where_data_goes() {
    let folder = folder(&[("secrets/token", "hidden"), ("app/README.md", "")]);
    let [app, secrets] = ["app", "secrets"].map(|name| folder.path().join(name));
    for folder in [&app, &secrets] {
        fs::copy(fixtures::guest("echo"), folder.join("model.wasm")).unwrap();
    }
    let config = |keys: Value| fs::write(app.join("config.json"), keys.to_string()).unwrap();
    for (keys, serve) in [
        (json!({ "AZUREML_MODEL_DIR": secrets }), Serve::new(&app)),
        (json!({ "AZUREML_ENTRY_SCRIPT": secrets }), Serve::azmlinfsrv().in_folder(&app)),
    ] {
        config(keys);
        let refused = serve.refused();
        assert_refused(&refused, 3);
        let why = "which is not below its folder; if that is meant, name the file with --config_file";
        assert!(format!("{refused:?}").contains(why), "{refused:?}");
        assert_eq!(serve.arg("--config_file").arg(app.join("config.json")).start().get("/livez").status, 200);
    }

    config(json!({"AML_APP_INSIGHTS_ENABLED": true, "AML_APP_INSIGHTS_KEY": KEY}));
    let named = Serve::new(&app).arg("--config_file").arg(app.join("config.json"));
    named.start().logged("telemetry goes to Application Insights");
    config(
        json!({"AML_APP_INSIGHTS_ENABLED": true, "AML_APP_INSIGHTS_KEY": KEY, "AML_CORS_ORIGINS": "*", "SERVICE_NAME": "x"}),
    );
    let server = Serve::new(&app).start();
    server.logged(
        "AML_APP_INSIGHTS_ENABLED, AML_APP_INSIGHTS_KEY, AML_CORS_ORIGINS of a configuration file that nobody names",
    );
    assert_eq!(title(&server), "x");
    let response = server.send(&Request::json("{}").header("origin", "http://a.test"));
    assert_eq!(response.header("access-control-allow-origin"), None);
    assert!(!server.log().join("\n").contains("telemetry goes to"));
}

#[test]
fn a_scorer_is_found_by_a_name_without_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures::guest("echo"), folder.path().join("model.wasm")).unwrap();
    let serve = Serve::azmlinfsrv().in_folder(folder.path()).env("AZUREML_ENTRY_SCRIPT", "model.wasm");
    assert_eq!(serve.start().score("{}").status, 200);
}

#[test]
fn an_empty_model_directory_is_none() {
    assert_eq!(guest("echo").arg("--model_dir=").start().score("{}").status, 200);
    // A folder and an archive have their own; a script by itself is told as it was said.
    let app = folder(&[("score.py", PROBE), ("model/name", "")]);
    let archive = app.path().join("app.scorebox");
    python::succeed(scorebox().arg("build").arg(app.path()).arg("-o").arg(&archive));
    let of = |scorer: &Path| in_python(app.path()).arg("--entry_script").arg(scorer);
    for (serve, expected) in [
        (of(app.path()).arg("--model_dir="), "/var/azureml-app/model"),
        (of(&archive).arg("--model_dir="), "/var/azureml-app/model"),
        (of(&archive).env("AZUREML_MODEL_DIR", ""), "/var/azureml-app/model"),
        (of(&app.path().join("score.py")).arg("--model_dir="), ""),
    ] {
        let seen = serve.start().score(r#"{"names": ["AZUREML_MODEL_DIR"]}"#).json();
        assert_eq!(seen, json!({ "AZUREML_MODEL_DIR": expected }), "{serve:?}");
    }
}
