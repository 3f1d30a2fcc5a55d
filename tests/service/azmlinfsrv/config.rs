//! `scorebox config`, which shows what the others come to.

use super::*;

const SECRET: &str = "InstrumentationKey=0a1b2c3d-9999-4333-8444-555566667777;IngestionEndpoint=http://127.0.0.1:9/";

fn config(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = scorebox();
    command.arg("config").arg(fixtures::guest("echo")).args(arguments).envs(environment.iter().copied());
    Process::start(command.current_dir(folder)).wait(PATIENCE)
}

const ENVIRONMENT: [(&str, &str); 7] = [
    ("GUNICORN_CMD_ARGS", "--graceful-timeout 7"),
    ("SERVICE_NAME", "from the environment"),
    ("aml_app_insights_key", KEY),
    ("APPLICATIONINSIGHTS_CONNECTION_STRING", SECRET),
    ("SCOREBOX_MAX_BODY", "5MiB"),
    ("SCOREBOX_PASS_ENV", "TOKEN"),
    ("TOKEN", "hidden-token"),
];
const ARGUMENTS: [&str; 6] = ["--env", "PASSWORD=hidden-password", "--tick", "7ms", "--worker_count", "3"];
const FILE: (&str, &str) = ("config.json", r#"{"SERVICE_VERSION": "7", "SCORING_TIMEOUT_MS": "2_000", "BOGUS": 1}"#);

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
        ("--grace", json!("7s"), "environment variable GUNICORN_CMD_ARGS"),
        ("--idle-timeout", json!("1m 15s"), "default"),
        ("--timeout", json!("2s"), "SCORING_TIMEOUT_MS and WORKER_TIMEOUT"),
        ("--threads", json!("3"), "WORKER_COUNT and GUNICORN_CMD_ARGS"),
        ("--max-running", json!("64"), "default"),
        ("--max-waiting", json!("1024"), "default"),
        ("--queue-timeout", json!(null), "default"),
        ("--park-after", json!(null), "default"),
        ("--log-level", json!("info"), "AZUREML_LOG_LEVEL"),
        ("--nice", json!("0"), "default"),
        ("--managed", json!("false"), "default"),
    ] {
        assert_eq!(all["settings"][name], json!({ "value": value, "source": source }), "{name}");
    }
}

#[test]
fn every_option_of_serve_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ended = config(folder.path(), &["--json"], &[]);
    let all: Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    let help = Process::start(scorebox().args(["serve", "--help"])).wait(PATIENCE).stdout;
    let first_words = help.lines().filter_map(|line| line.trim_start().split(' ').next());
    // Those with an underscore are settings of the contract.
    let options: Vec<_> = first_words.filter(|word| word.starts_with("--") && !word.contains('_')).collect();
    assert!(options.len() > 50, "{options:?}");
    for option in options {
        assert!(all["settings"][option].is_object(), "{option} is not in {all:#}");
    }
}

#[test]
fn keys_of_a_file_that_nobody_names_and_which_do_not_count_are_named() {
    let folder = folder(&[("config.json", r#"{"AML_APP_INSIGHTS_ENABLED": true, "SERVICE_NAME": "x"}"#)]);
    let ended = config(folder.path(), &[], &[]);
    assert!(
        ended.stdout.contains("keys that count only in a file that is named: AML_APP_INSIGHTS_ENABLED\n"),
        "{ended:?}"
    );
    let ended = config(folder.path(), &["--config_file", "config.json"], &[]);
    assert!(!ended.stdout.contains("keys that count only"), "{ended:?}");
}

#[test]
fn the_table_has_the_same_with_the_file_first() {
    let folder = folder(&[FILE]);
    let ended = config(folder.path(), &ARGUMENTS, &ENVIRONMENT);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_no_secret(&ended);
    let mut lines = ended.stdout.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("configuration file: ") && line.ends_with("config.json")));
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
