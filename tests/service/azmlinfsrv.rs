//! The program under its second name, `azmlinfsrv`: the command line, the settings, the log and the signals of Azure ML's
//! inference server.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use scorebox_tests::fixtures::{self, folder};
use scorebox_tests::process::{Process, scorebox};
use scorebox_tests::server::free_port;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Ended, Request, Response, Serve, Server, python};
use serde_json::{Value, json};

const KEY: &str = "0a1b2c3d-2222-4333-8444-555566667777";

/// A server of a component of tests/guests.
fn guest(name: &str) -> Serve {
    Serve::azmlinfsrv().arg("--entry_script").arg(fixtures::guest(name))
}

/// A server that is started in the folder of its scripts.
fn in_python(folder: &Path) -> Serve {
    let serve = Serve::azmlinfsrv().in_folder(folder).cache(python::compiled_cache());
    // What all tests with scripts share is not to be trimmed by this one.
    serve.env("SCOREBOX_CACHE_SIZE", "3GiB")
}

/// A line of the log without its time and process: `I azmlinfsrv - Invoking user's init function`. Others are as they are.
fn record(line: &str) -> String {
    let parts = line.split_at_checked(24).and_then(|(_, rest)| {
        let (level, rest) = rest.split_once(" [")?;
        let (_, rest) = rest.split_once("] ")?;
        (level.len() == 1).then(|| format!("{level} {rest}"))
    });
    parts.unwrap_or_else(|| line.to_owned())
}

fn records(ended: &Ended) -> Vec<String> {
    ended.stdout.lines().map(record).collect()
}

/// Checks that the server did not start, and ended in this way.
#[track_caller]
fn assert_refused(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(!ended.stdout.contains("listening on") && !ended.stderr.contains("panicked"), "{ended:?}");
}

/// The name of the service, as the OpenAPI document has it.
#[track_caller]
fn title(server: &Server) -> String {
    server.get("/swagger.json").json()["info"]["title"].as_str().expect("a document has a title").to_owned()
}

mod command_line {
    use super::*;

    const OPTIONS: [&str; 9] = [
        "-h, --help",
        "--entry_script ENTRY_SCRIPT",
        "--model_dir MODEL_DIR",
        "--appinsights_instrumentation_key APPINSIGHTS_INSTRUMENTATION_KEY",
        "--port PORT",
        "--health_port HEALTH_PORT",
        "--worker_count WORKER_COUNT",
        "--access_control_allow_origins ACCESS_CONTROL_ALLOW_ORIGINS",
        "--config_file CONFIG_FILE",
    ];

    /// The options in the list that follows the name of the server.
    fn listed(help: &str) -> Vec<&str> {
        let list = help.strip_prefix("Azure ML Inferencing HTTP server v1.5.1\n\noptions:\n");
        let list = list.unwrap_or_else(|| panic!("{help:?}"));
        let options = list.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| line.starts_with('-')));
        options.map(|line| line.split("  ").next().unwrap_or_default()).collect()
    }

    #[test]
    fn wrong_usage_ends_with_1_the_reason_on_standard_error_and_the_options_on_standard_output() {
        for (arguments, reason) in [
            ("--port 70000", "argument --port: invalid validate_port value: '70000'"),
            ("--port 0", "argument --port: invalid validate_port value: '0'"),
            ("--health_port x", "argument --health_port: invalid validate_port value: 'x'"),
            ("--worker_count 0", "argument --worker_count: invalid validate_worker_count value: '0'"),
            ("--entry_script", "argument --entry_script: expected one argument"),
            ("score.py", "unrecognized arguments: score.py"),
            ("--entry_script a.py --bogus 1", "unrecognized arguments: --bogus 1"),
            ("--h 5002", "ambiguous option: --h could match --help, --health_port"),
        ] {
            let ended = Serve::azmlinfsrv().args(arguments).refused();
            assert_refused(&ended, 1);
            assert!(ended.stderr.starts_with("usage: azmlinfsrv [-h]"), "{arguments}: {}", ended.stderr);
            let last = ended.stderr.lines().last().unwrap_or_default();
            assert_eq!(last, format!("azmlinfsrv: error: {reason}"));
            let options = ended.stdout.strip_prefix('\n').unwrap_or_else(|| panic!("{}", ended.stdout));
            assert_eq!(listed(options), OPTIONS, "{arguments}");
        }
    }

    #[test]
    fn options_of_the_real_server_without_a_command_are_read_as_there() {
        let output = scorebox_tests::process::scorebox().args(["--port", "0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.ends_with("azmlinfsrv: error: argument --port: invalid validate_port value: '0'\n"), "{said}");
    }

    #[test]
    fn the_help_goes_to_standard_output_and_ends_with_1() {
        for argument in ["--help", "-h", "--hel"] {
            let ended = Serve::azmlinfsrv().arg(argument).refused();
            assert_refused(&ended, 1);
            assert_eq!(ended.stderr, "");
            let (usage, help) = ended.stdout.split_once("\n\n").expect("the usage comes first");
            assert!(usage.starts_with("usage: azmlinfsrv [-h]"), "{usage}");
            assert_eq!(listed(help), OPTIONS);
        }
    }

    #[test]
    fn nothing_to_serve_is_said_in_two_records_and_ends_with_1() {
        let ended = Serve::azmlinfsrv().refused();
        assert_refused(&ended, 1);
        assert_eq!(
            records(&ended),
            [
                "E azmlinfsrv - Error!",
                "E azmlinfsrv - Either provide an entry_script using --entry_script or provide a path to the \
                 configuration file using --config_file",
            ]
        );
    }

    #[test]
    fn options_may_be_cut_repeated_and_joined_to_their_values() {
        let port = free_port().to_string();
        let server = Serve::azmlinfsrv()
            .env("SEPERATE_HEALTH_ENDPOINT", "true")
            .args("--entry nothing.wasm --health=1")
            .args(&format!("--health_p {port}"))
            .arg(format!("--entry_s={}", fixtures::guest("echo").display()))
            .start();
        assert_eq!(server.score("{}").status, 200);
        server.logged(&format!("Health Port: {port}"));
    }
}

mod start_up {
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
        let no_model =
            |line: &String| line.contains("AZUREML_MODEL_DIR") || line.contains("Model directory is not set");
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
            assert!(
                ended.stdout.contains("\nApplication Insights Key: AppInsights key provided\n"),
                "{}",
                ended.stdout
            );
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
}

mod settings {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let folder = folder(&[
            (
                "line.json",
                r#"{"SERVICE_NAME": "file", "SERVICE_VERSION": "file", "AML_CORS_ORIGINS": "http://file.test"}"#,
            ),
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
}

mod workers {
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

        for (arguments, why) in [("--config 'a", "a quote is not closed"), ("--threads x", "--threads needs a number")]
        {
            let ended = guest("echo").env("GUNICORN_CMD_ARGS", arguments).refused();
            assert_refused(&ended, 1);
            assert!(ended.stderr.contains("GUNICORN_CMD_ARGS") && ended.stderr.contains(why), "{}", ended.stderr);
        }
    }
}

mod app_folder {
    use super::*;

    #[test]
    fn without_an_entry_script_main_py_of_the_app_folder_is_served_with_modules_of_the_source_directory() {
        let app = folder(&[
            ("app/main.py", "import helper\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return helper.ANSWER\n"),
            ("app/lib/helper.py", "ANSWER = 'from the source directory'\n"),
            ("settings.json", r#"{"AML_SOURCE_DIRECTORY": "lib"}"#),
        ]);
        let serve =
            in_python(app.path()).args("--config_file settings.json").env("AML_APP_ROOT", app.path().join("app"));
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
}

/// Does as it is told.
const PROBE: &str = r#"import json
import os
import sys
import time


def init():
    print("init", "ran")


def run(data):
    asked = json.loads(data)
    if "names" in asked:
        return {name: os.environ.get(name) for name in asked["names"]}
    if "text" in asked:
        print(asked["text"])
    if "raise" in asked:
        raise ValueError(asked["raise"])
    if "exit" in asked:
        sys.exit(asked["exit"])
    return "done"
"#;

mod scripts {
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
}

/// Checks that a response is a page as gunicorn writes it, which has none of the headers of the server behind it.
#[track_caller]
fn assert_page(response: &Response, status: u16, reason: &str, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("text/html"));
    assert_eq!(
        response.text(),
        format!(
            "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    <h1><p>{reason}</p></h1>\n    \
             {message}\n  </body>\n</html>\n"
        )
    );
    for name in ["x-request-id", "x-ms-request-id", "x-ms-client-request-id", "x-ms-server-version", "traceid"] {
        assert_eq!(response.header(name), None);
    }
}

mod http_rules {
    use super::*;

    /// Sends a request that breaks a rule, and returns the answer. The connection is closed after it.
    #[track_caller]
    fn refused(server: &Server, request: &[u8]) -> Response {
        let mut client = server.connect();
        client.write(request).expect("the server listens");
        let response = client.read().unwrap_or_else(|error| panic!("{error}: {}", request[..60].escape_ascii()));
        assert_eq!(response.header("connection"), Some("close"), "{response:?}");
        assert_eq!(client.read_to_end().expect("the rest"), b"");
        response
    }

    fn target(line: usize) -> String {
        format!("/?{}", "a".repeat(line - "GET /? HTTP/1.1".len()))
    }

    fn headers(request: Request, count: usize) -> Request {
        // One is there already.
        (1..count).fold(request, |request, number| request.header(&format!("x-{number}"), "1"))
    }

    fn value(line: usize) -> String {
        "a".repeat(line - "x-long: \r\n".len())
    }

    #[test]
    fn what_is_longer_than_gunicorn_reads_is_answered_with_its_pages_on_every_route() {
        let server = guest("echo").start();
        for request in [
            Request::get(&target(4094)),
            headers(Request::get("/"), 100),
            Request::get("/").header("x-long", value(8190)),
        ] {
            assert_eq!(server.send(&request).status, 200);
        }
        let id = |request: Request| request.header("x-request-id", "id").header("traceid", "t").to_bytes();
        let long_line = refused(&server, &id(Request::get(&target(4095))));
        assert_page(&long_line, 414, "URI Too Long", "Request Line is too large (4095 &gt; 4094)");
        for path in ["/", "/score", "/nothing"] {
            let too_many = refused(&server, &headers(Request::get(path), 101).to_bytes());
            assert_page(
                &too_many,
                431,
                "Request Header Fields Too Large",
                "Error parsing headers: &#x27;limit request headers fields&#x27;",
            );
            let too_long = refused(&server, &id(Request::get(path).header("x-long", value(8191))));
            assert_page(
                &too_long,
                431,
                "Request Header Fields Too Large",
                "Error parsing headers: &#x27;limit request headers fields size&#x27;",
            );
        }
        let ended = server.stop();
        assert!(!ended.stdout.contains("/score "), "what is refused is no request: {}", ended.stdout);
    }

    #[test]
    fn what_is_far_longer_than_that_is_refused_as_well() {
        let server = guest("echo").start();
        let line = refused(&server, &Request::get(&target(20_000)).to_bytes());
        assert_eq!(line.status, 414);
        for request in [headers(Request::get("/"), 1000), Request::get("/").header("x-long", value(200_000))] {
            let mut client = server.connect();
            // The server may hang up before it has read all of it.
            let _ = client.write(&request.to_bytes());
            assert_eq!(client.read().map(|response| response.status).ok(), Some(431));
        }
    }

    const LENGTH: &str = "content-length: 5\r\n";
    const CHUNKS: &str = "transfer-encoding: chunked\r\n";

    fn with_both(lines: &str) -> String {
        format!("POST /score HTTP/1.1\r\nhost: x\r\n{lines}\r\n5\r\nhello\r\n0\r\n\r\n")
    }

    #[test]
    fn a_length_beside_chunks_is_answered_with_400_in_either_order_and_what_follows_is_not_read() {
        let server = guest("echo").start();
        for lines in [format!("{LENGTH}{CHUNKS}"), format!("{CHUNKS}{LENGTH}")] {
            let both = with_both(&lines) + "GET /score?smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
            let response = refused(&server, both.as_bytes());
            assert_page(&response, 400, "Bad Request", "Invalid HTTP Header: &#x27;CONTENT-LENGTH&#x27;");
        }
        assert_eq!(server.score("still there").json()["body"], "still there");
        let ended = server.stop();
        assert!(!ended.stdout.contains("smuggled"), "{}", ended.stdout);
    }
}

mod managed {
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
}

mod signals {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use scorebox_tests::wait::SetOnFailure;

    fn script(version: u32) -> String {
        format!("def init():\n    pass\n\n\ndef run(data):\n    return {version}\n")
    }

    #[test]
    fn sighup_puts_a_changed_script_in_place_without_losing_a_request_and_keeps_the_old_one_when_the_new_one_fails() {
        let app = folder(&[("score.py", &script(1))]);
        let path = app.path().join("score.py");
        let server = in_python(app.path()).args("--entry_script score.py").start();
        assert_eq!(server.score("{}").json(), 1);
        let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let versions: Vec<Value> = std::thread::scope(|scope| {
            let _failure = SetOnFailure(&stop);
            let client = scope.spawn(|| {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let response = server.score("{}");
                    assert_eq!(response.status, 200, "{response:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    seen.push(response.json());
                }
                seen
            });
            let change = |text: &str, outcome: &str, times: usize| {
                fs::write(&path, text).unwrap();
                server.process().signal(Signal::HUP);
                eventually(PATIENCE, outcome, || {
                    server.log().iter().filter(|line| line.contains(outcome)).count() == times
                });
                let before = answered.load(Ordering::Relaxed);
                eventually(PATIENCE, "requests go on", || answered.load(Ordering::Relaxed) > before + 2);
            };
            change(&script(2), "is deployed as", 2);
            change("def run(:\n", "what is deployed goes on serving", 1);
            change("def init():\n    raise ValueError('no')\n\n\ndef run(data):\n    return 4\n", "goes on serving", 2);
            assert_eq!(server.score("{}").json(), 2, "the broken ones serve nothing");
            change(&script(5), "is deployed as", 3);
            stop.store(true, Ordering::Relaxed);
            client.join().expect("no request is lost")
        });
        let mut kinds = versions;
        kinds.dedup();
        assert_eq!(kinds, [1, 2, 5]);
        assert_eq!(server.score("{}").json(), 5);
    }

    #[test]
    fn sigquit_finishes_what_runs_and_the_signals_that_change_gunicorns_workers_end_nothing() {
        let server = guest("spin").env("SCORING_TIMEOUT_MS", "1500").start();
        for signal in [Signal::USR1, Signal::USR2, Signal::TTIN, Signal::TTOU, Signal::WINCH] {
            server.process().signal(signal);
            assert_eq!(server.score(r#"{"spin": false}"#).status, 200, "{signal:?}");
        }
        let begin = server.process().cpu_time();
        let mut client = server.connect();
        client.write(&Request::json(r#"{"spin": true}"#).to_bytes()).unwrap();
        eventually(PATIENCE, "it runs", || server.process().cpu_time() >= begin + Duration::from_millis(50));
        server.process().signal(Signal::QUIT);
        server.logged("SIGQUIT: no more connections are taken");
        client.read().unwrap().assert_error(500, "Scoring timeout after 1500 ms");
        let ended = server.wait(PATIENCE);
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("all requests are answered"), "{}", ended.stdout);
    }
}

/// `scorebox config`, which shows what the others come to.
mod config {
    use super::*;

    const SECRET: &str =
        "InstrumentationKey=0a1b2c3d-9999-4333-8444-555566667777;IngestionEndpoint=http://127.0.0.1:9/";

    fn config(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let mut command = scorebox();
        command.arg("config").arg(fixtures::guest("echo")).args(arguments).envs(environment.iter().copied());
        Process::start(command.current_dir(folder)).wait(PATIENCE)
    }

    const ENVIRONMENT: [(&str, &str); 6] = [
        ("SERVICE_NAME", "from the environment"),
        ("aml_app_insights_key", KEY),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", SECRET),
        ("SCOREBOX_MAX_BODY", "5MiB"),
        ("SCOREBOX_PASS_ENV", "TOKEN"),
        ("TOKEN", "hidden-token"),
    ];
    const ARGUMENTS: [&str; 6] = ["--env", "PASSWORD=hidden-password", "--tick", "7ms", "--worker_count", "3"];
    const FILE: (&str, &str) =
        ("config.json", r#"{"SERVICE_VERSION": "7", "SCORING_TIMEOUT_MS": "2_000", "BOGUS": 1}"#);

    #[track_caller]
    fn assert_no_secret(ended: &Ended) {
        let all = format!("{}{}", ended.stdout, ended.stderr);
        for secret in [KEY, SECRET, "9999-4333", "hidden-password", "hidden-token"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }

    #[test]
    fn every_setting_is_shown_in_json_with_its_value_and_source_and_secrets_are_masked() {
        let folder = folder(&[FILE]);
        let ended = config(folder.path(), &[&["--json"], &ARGUMENTS[..]].concat(), &ENVIRONMENT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_no_secret(&ended);
        let all: Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
        assert_eq!(all["extra_keys"], json!(["BOGUS"]));
        assert!(all["config_file"].as_str().is_some_and(|path| path.ends_with("config.json")), "{all:#}");
        for (name, value, source) in [
            ("SERVICE_NAME", json!("from the environment"), "environment variable SERVICE_NAME"),
            ("SERVICE_VERSION", json!("7"), "key SERVICE_VERSION of the configuration file"),
            ("SCORING_TIMEOUT_MS", json!("2000"), "key SCORING_TIMEOUT_MS of the configuration file"),
            ("WORKER_COUNT", json!("3"), "command line"),
            ("AML_APP_INSIGHTS_KEY", json!("********"), "environment variable aml_app_insights_key"),
            (
                "APPLICATIONINSIGHTS_CONNECTION_STRING",
                json!("********"),
                "environment variable APPLICATIONINSIGHTS_CONNECTION_STRING",
            ),
            ("AML_CORS_ORIGINS", json!(null), "default"),
            ("APP_INSIGHTS_LOG_RESPONSE_ENABLED", json!("true"), "default"),
            ("--env", json!("PASSWORD=********"), "command line"),
            ("--pass-env", json!("TOKEN"), "environment variable SCOREBOX_PASS_ENV"),
            ("--tick", json!("7ms"), "command line"),
            ("--max-body", json!("5MiB"), "environment variable SCOREBOX_MAX_BODY"),
            ("--grace", json!(null), "default"),
        ] {
            let setting = &all["settings"][name];
            let expected = json!({ "value": value, "source": source });
            assert!(*setting == expected || setting.is_null() && value.is_null(), "{name}: {setting}, not {expected}");
        }
    }

    #[test]
    fn the_table_has_the_same_with_the_file_first() {
        let folder = folder(&[FILE]);
        let ended = config(folder.path(), &ARGUMENTS, &ENVIRONMENT);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_no_secret(&ended);
        let mut lines = ended.stdout.lines();
        assert!(
            lines.next().is_some_and(|line| line.starts_with("configuration file: ") && line.ends_with("config.json"))
        );
        assert_eq!(lines.next(), Some("keys of it that are no settings: BOGUS"));
        let rows: Vec<Vec<_>> =
            lines.map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
        for row in [
            ["SERVICE_NAME", "from the environment", "environment variable SERVICE_NAME"],
            ["SERVICE_VERSION", "7", "key SERVICE_VERSION of the configuration file"],
            ["AML_APP_INSIGHTS_KEY", "********", "environment variable aml_app_insights_key"],
            ["AML_CORS_ORIGINS", "-", "default"],
            ["--env", "PASSWORD=********", "command line"],
            ["--max-body", "5MiB", "environment variable SCOREBOX_MAX_BODY"],
        ] {
            assert!(rows.contains(&row.to_vec()), "no {row:?} in {}", ended.stdout);
        }
    }

    #[test]
    fn what_would_keep_the_server_from_starting_is_said_with_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        for (environment, code, text) in [
            (("SCORING_TIMEOUT_MS", "abc"), 3, "SCORING_TIMEOUT_MS: Input should be a valid integer"),
            (("WORKER_COUNT", "0"), 1, "WORKER_COUNT"),
            (("WORKER_TIMEOUT", "x"), 2, "WORKER_TIMEOUT"),
            (("AZUREML_DEBUG_PORT", "5678"), 3, "AZUREML_DEBUG_PORT"),
        ] {
            let ended = config(folder.path(), &[], &[environment]);
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert!(ended.stderr.contains(text), "{}", ended.stderr);
        }
    }
}
