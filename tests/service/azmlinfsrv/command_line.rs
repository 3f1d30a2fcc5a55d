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
