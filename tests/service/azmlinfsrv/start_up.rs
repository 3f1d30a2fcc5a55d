use super::*;

#[test]
fn the_log_of_a_start_has_the_settings_and_the_steps_in_their_order() {
    let app = folder(&[("score.py", PROBE)]);
    let server = in_python(app.path()).args("--entry_script score.py").start();
    server.logged("ready for serving traffic");
    let port = server.address().port();
    let script = app.path().canonicalize().unwrap().join("score.py");
    let banner = format!(
        "The environment variable 'AZUREML_MODEL_DIR' has not been set.
Use the --model_dir command line argument to set it.

Azure ML Inferencing HTTP server v1.5.1


Server Settings
---------------
Entry Script Name: {}
Model Directory: None
Config File: None
Worker Count: 1
Worker Timeout (seconds): None
Server Port: {port}
Health Port: {port}
Application Insights Enabled: false
Application Insights Key: None
Inferencing HTTP server version: azmlinfsrv/1.5.1
CORS for the specified origins: None
Create dedicated endpoint for health: None


Server Routes
---------------
Liveness Probe: GET   127.0.0.1:{port}/
Score:          POST  127.0.0.1:{port}/score
",
        script.display()
    );
    let log = server.log();
    let banner: Vec<_> = banner.lines().collect();
    let at = log.iter().position(|line| line == banner[0]).expect("there is a banner");
    assert_eq!(log[at..at + banner.len()], banner);

    let log: Vec<_> = log[at + banner.len()..].iter().map(|line| record(line)).collect();
    let steps = [
        "I azmlinfsrv - Starting up app insights client".to_owned(),
        "W azmlinfsrv.trace - Model directory is not set or does not exist: ".to_owned(),
        "I azmlinfsrv.user_script - Found user script at /var/azureml-app/score.py".to_owned(),
        "I azmlinfsrv.user_script - run() is not decorated. Server will invoke it with the input in JSON string."
            .to_owned(),
        "I azmlinfsrv.user_script - Invoking user's init function".to_owned(),
        "I azmlinfsrv.print - init ran".to_owned(),
        "I azmlinfsrv.user_script - Users's init has completed successfully".to_owned(),
        "I azmlinfsrv.swagger - Swaggers are prepared for the following versions: [2, 3, 3.1].".to_owned(),
        "I azmlinfsrv - Scoring timeout is set to 3600000".to_owned(),
        format!("I azmlinfsrv - Worker with pid {} ready for serving traffic", server.process().id()),
    ];
    let found: Vec<_> = log.iter().filter(|line| steps.contains(line)).cloned().collect();
    assert_eq!(found, steps, "{log:#?}");
}

#[test]
fn what_is_set_is_in_the_banner() {
    let folder = folder(&[("model/m1/1/weights", ""), ("settings.json", "{}")]);
    let health_port = free_port();
    let server = guest("echo")
        .in_folder(folder.path())
        .args("--model_dir model --config_file settings.json --worker_count 2")
        .args("--access_control_allow_origins http://a.test,http://b.test --health_port")
        .arg(health_port.to_string())
        .env("SEPERATE_HEALTH_ENDPOINT", "true")
        .env("WORKER_TIMEOUT", "20")
        .env("SERVER_VERSION_LOG_RESPONSE_ENABLED", "false")
        .env("HTTP_X_MS_SERVER_VERSION", "custom/1")
        .env("SCORING_TIMEOUT_MS", "4500")
        .start();
    server.logged("Scoring timeout is set to 4500");
    let log = server.log();
    let file = folder.path().canonicalize().unwrap().join("settings.json");
    for line in [
        "Model Directory: model",
        &format!("Config File: {}", file.display()),
        "Worker Count: 2",
        "Worker Timeout (seconds): 20",
        &format!("Health Port: {health_port}"),
        "Inferencing HTTP server version: custom/1",
        "CORS for the specified origins: Enabling CORS for http://a.test,http://b.test",
        "Create dedicated endpoint for health: true",
        &format!("Liveness Probe: GET   127.0.0.1:{health_port}/"),
    ] {
        assert!(log.iter().any(|other| other == line), "no {line:?} in {log:#?}");
    }
    let no_model = |line: &String| line.contains("AZUREML_MODEL_DIR") || line.contains("Model directory is not set");
    assert!(!log.iter().any(no_model), "{log:#?}");
    assert_eq!(server.get("/").header("x-ms-server-version"), Some("custom/1"));
}

#[test]
fn a_key_of_application_insights_is_said_to_be_valid_or_not_and_is_never_shown() {
    const VALID: &[&str] = &["Valid Application Insights instrumentation key provided."];
    const INVALID: &[&str] =
        &["Invalid Application Insights instrumentation key provided.", "Application Insights has been disabled."];
    let upper = KEY.to_uppercase();
    for (flag, enabled, variable, said, on) in [
        (Some(KEY), None, None, VALID, true),
        (Some(&*upper), None, None, VALID, true),
        (None, Some("true"), Some(KEY), VALID, true),
        (Some("secret-but-no-key"), None, None, INVALID, false),
        (None, Some("true"), Some("secret-but-no-key"), INVALID, false),
        (None, Some("True"), Some(KEY), &[], false),
        (None, None, Some(KEY), &[], false),
    ] {
        let buffer = tempfile::tempdir().unwrap();
        // Nobody listens there.
        let mut serve = guest("echo")
            .env("AML_APP_INSIGHTS_ENDPOINT", "http://127.0.0.1:9")
            .env("SCOREBOX_TELEMETRY_BUFFER", buffer.path());
        serve = flag.iter().fold(serve, |serve, key| serve.arg("--appinsights_instrumentation_key").arg(key));
        serve = enabled.iter().fold(serve, |serve, value| serve.env("AML_APP_INSIGHTS_ENABLED", value));
        serve = variable.iter().fold(serve, |serve, key| serve.env("AML_APP_INSIGHTS_KEY", key));
        let server = serve.start();
        assert_eq!(server.score("{}").status, 200);
        let ended = server.stop();
        let about: Vec<_> = ended
            .stdout
            .lines()
            .filter(|line| line.contains("instrumentation key") || line.contains("has been disabled"))
            .collect();
        assert_eq!(about, said, "{flag:?} {enabled:?} {variable:?}");
        assert!(ended.stdout.contains(&format!("\nApplication Insights Enabled: {on}\n")), "{}", ended.stdout);
        assert!(ended.stdout.contains("\nApplication Insights Key: AppInsights key provided\n"), "{}", ended.stdout);
        let all = (ended.stdout + &ended.stderr).to_lowercase();
        assert!(!all.contains(KEY) && !all.contains("secret-but-no-key"), "{all}");
    }
}

#[test]
fn the_level_of_the_log_is_that_of_azureml_log_level() {
    let server = guest("echo").env("AZUREML_LOG_LEVEL", "debug").start();
    assert_eq!(server.score("{}").status, 200);
    assert!(server.logged("run() ended").contains(" D ["));

    let port = free_port();
    let (process, _shared) = guest("echo").env("AZUREML_LOG_LEVEL", "WARNING").spawn(port);
    let mut client = None;
    eventually(PATIENCE, "it listens", || {
        client = Client::connect(([127, 0, 0, 1], port).into()).ok();
        client.is_some()
    });
    let request = Request::json("{}").header("x-ms-request-id", "old");
    assert_eq!(client.expect("it listens").send(&request).unwrap().status, 200);
    assert!(process.line(PATIENCE, |line| line.contains("x-ms-request-id header has been deprecated")).is_some());
    let ended = process.kill();
    let below = |line: &&String| line.starts_with("I ") || line.starts_with("D ");
    assert_eq!(records(&ended).iter().find(below), None);

    let server = guest("echo").env("AZUREML_LOG_LEVEL", "LOUD").start();
    let line = server.logged("AZUREML_LOG_LEVEL is \"LOUD\", which is no level");
    assert!(line.contains(" W ["), "{line}");
    assert!(server.logged("Starting up app insights client").contains(" I ["), "it is as if nothing had been said");
}

#[test]
fn the_loggers_of_a_script_have_that_level_too() {
    const SCRIPT: &str = "import logging\n\n\ndef init():\n    logging.getLogger('azmlinfsrv.mine').debug('fine')\n\n\n\
                              def run(data):\n    return data\n";
    let app = folder(&[("score.py", SCRIPT)]);
    let server = in_python(app.path()).args("--entry_script score.py").env("AZUREML_LOG_LEVEL", "DEBUG").start();
    assert_eq!(record(&server.logged("fine")), "D azmlinfsrv.mine - fine");
}
