//! The other commands, what they print, and how they end.

use std::ffi::OsStr;
use std::fs;

use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::process::{run, run_with_input};
use scorebox_tests::{Ended, Request, Serve};
use serde_json::{Value, json};

#[track_caller]
fn assert_ended(ended: &Ended, code: i32, stderr: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for text in stderr {
        assert!(ended.stderr.contains(text), "no {text:?} in {:?}", ended.stderr);
    }
}

mod help {
    use super::*;

    #[test]
    fn help_names_the_commands_and_the_exit_codes() {
        let ended = run(["--help"]);
        assert_ended(&ended, 0, &[]);
        for text in ["serve", "check", "run", "build", "Exit codes: 0 success"] {
            assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
        }
    }

    #[test]
    fn help_of_a_command_ends_with_examples_and_the_manual_has_a_page_for_each() {
        let folder = fixtures::folder(&[]);
        let folder = folder.path().join("man1");
        assert_ended(&run([OsStr::new("manual"), folder.as_os_str()]), 0, &[]);
        let page = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (command, example) in [
            ("serve", "scorebox serve --state-dir state"),
            ("deploy", "scorebox deploy acme/iris/blue score.py"),
            ("apply", "scorebox apply --dry-run"),
            ("traffic", "scorebox traffic acme/iris blue=90 green=10"),
            ("state", "scorebox state backup before-upgrade"),
        ] {
            let help = run([command, "--help"]);
            assert_ended(&help, 0, &[]);
            let examples = help.stdout.split("Examples:").nth(1).unwrap_or_else(|| panic!("{}", help.stdout));
            assert!(examples.contains(example), "{examples}");
            let page = page(&format!("scorebox-{command}.1"));
            assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
            assert!(page.replace("\\-", "-").contains(example), "{page}");
        }
        assert!(page("scorebox.1").contains("verify"));
        assert!(page("scorebox-keys-rotate.1").contains("primary"));
    }

    #[test]
    fn help_of_serve_names_every_option_with_its_default() {
        let ended = run(["serve", "--help"]);
        assert_ended(&ended, 0, &[]);
        for text in [
            "--entry_script",
            "--model_dir",
            "--config_file",
            "--port",
            "--health_port",
            "--worker_count",
            "--appinsights_instrumentation_key",
            "--access_control_allow_origins",
            "--memory",
            "--timeout",
            "--init-timeout",
            "--max-log",
            "--max-response",
            "--max-host-call",
            "--stack",
            "--threads",
            "--max-running",
            "--max-waiting",
            "--queue-timeout",
            "--tick",
            "--max-body",
            "--max-bodies",
            "--body-timeout",
            "--head-timeout",
            "--idle-timeout",
            "--write-timeout",
            "--max-connections",
            "--grace",
            "--cache-dir",
            "--cache-size",
            "--no-cache",
            "--log-format",
            "--log-level",
            "[default: 5001]",
            "[default: 1GiB]",
        ] {
            assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
        }
    }

    #[test]
    fn the_version_is_said() {
        assert!(run(["--version"]).stdout.starts_with("scorebox 0."));
    }

    #[test]
    fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
        for (arguments, text) in [
            (&["serv"][..], "serv"),
            (&[], "Usage"),
            (&["serve", "x", "--no-such-flag"], "--no-such-flag"),
            (&["serve", "x", "--port", "0"], "--port"),
            (&["serve", "x", "--port", "65536"], "--port"),
            (&["serve", "x", "--timeout", "soon"], "write it like 300s or 5ms"),
            (&["serve", "x", "--memory", "lots"], "--memory"),
            (&["serve", "x", "--max-running", "0"], "--max-running"),
            (&["serve", "x", "--log-format", "xml"], "use text or json"),
            (&["serve", "x", "--entry_script", "y"], "cannot be used with"),
            (&["check"], "SCORER"),
            (&["run", "x"], "--data"),
            (&["build", "x", "--target", "x86_64"], "is no target of a scorer"),
        ] {
            assert_ended(&run(arguments), 2, &[text]);
        }
    }
}

mod check {
    use super::*;

    #[test]
    fn a_scorer_that_can_be_served_is_described() {
        let ended = run(["check".as_ref(), fixtures::example("iris-rust").as_os_str()]);
        assert_ended(&ended, 0, &[]);
        assert_eq!(ended.stderr, "");
        let lines: Vec<_> = ended.stdout.lines().collect();
        let section = |title: &str| {
            let at = lines
                .iter()
                .position(|line| *line == title)
                .unwrap_or_else(|| panic!("no {title} in {}", ended.stdout));
            lines[at + 1..].iter().take_while(|line| line.starts_with("  ")).map(|line| line.trim()).collect::<Vec<_>>()
        };
        assert_eq!(section("imports"), ["scorebox:scoring/log@0.1.0"]);
        assert_eq!(section("exports"), ["scorebox:scoring/scoring@0.1.0"]);
        let schema = |title| serde_json::from_str::<Value>(section(title)[0]).expect("a schema is JSON");
        assert_eq!(schema("input schema")["required"], json!(["data"]));
        assert_eq!(schema("output schema")["required"], json!(["prediction", "probability"]));
        for start in ["component   ", "files       ", "snapshot    ", "memory      1.0 GiB", "input       json"] {
            assert!(lines.iter().any(|line| line.starts_with(start)), "no {start:?} in {}", ended.stdout);
        }
    }

    #[test]
    fn a_scorer_with_wasi_is_described_with_all_that_it_imports() {
        let ended = run(["check".as_ref(), fixtures::guest("wasi").as_os_str()]);
        assert_ended(&ended, 0, &[]);
        for text in ["wasi:random/random@0.2.", "wasi:filesystem/types@0.2.", "input       raw", "not declared"] {
            assert!(ended.stdout.contains(text), "no {text:?} in {}", ended.stdout);
        }
    }

    #[test]
    fn a_scorer_that_cannot_be_served_ends_with_1_and_the_reason() {
        let ended = run(["check".as_ref(), fixtures::guest("sockets").as_os_str()]);
        assert_ended(&ended, 1, &["error: ", "sockets.wasm cannot be served: ", "wasi:sockets/"]);
        assert_eq!(ended.stdout, "");
    }
}

mod score_once {
    use super::*;

    fn expected() -> Value {
        Serve::example("iris-rust").start().score(IRIS).json()
    }

    fn run_iris(data: impl AsRef<OsStr>, input: &[u8]) -> Ended {
        let iris = fixtures::example("iris-rust");
        run_with_input(
            ["run".as_ref(), iris.as_os_str(), "--no-cache".as_ref(), "--data".as_ref(), data.as_ref()],
            input,
        )
    }

    #[test]
    fn the_answer_is_that_of_the_server_from_a_file_and_from_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("request.json");
        fs::write(&file, IRIS).unwrap();
        for ended in [run_iris(&file, b""), run_iris("-", IRIS.as_bytes())] {
            assert_ended(&ended, 0, &[]);
            assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap(), expected());
        }
    }

    #[test]
    fn input_that_the_scorer_refuses_ends_with_1_and_its_message() {
        let ended = run_iris("-", b"{}");
        assert_ended(&ended, 1, &["error: bad input (400): A value is not provided for the 'data' parameter."]);
        assert_eq!(ended.stdout, "");
    }

    #[test]
    fn a_file_that_is_not_there_ends_with_1_and_its_name() {
        assert_ended(&run_iris("/nothing/here.json", b""), 1, &["error: cannot read /nothing/here.json: "]);
    }

    #[test]
    fn every_end_of_a_scorer_is_said() {
        let score = |guest: &str, options: &[&str], input: &str| {
            let guest = fixtures::guest(guest);
            let mut arguments: Vec<&OsStr> = vec!["run".as_ref(), guest.as_os_str()];
            arguments.extend(["--no-cache", "--data", "-"].map(OsStr::new));
            arguments.extend(options.iter().map(OsStr::new));
            run_with_input(arguments, input.as_bytes())
        };
        assert_ended(
            &score("spin", &["--timeout", "100ms"], r#"{"spin": true}"#),
            1,
            &["within 0.1 s; raise --timeout"],
        );
        assert_ended(
            &score("panic", &[], r#"{"end": "panic", "secret": "s"}"#),
            1,
            &["run() failed: panic: ", "the secret is s"],
        );
        assert_ended(&score("panic", &[], r#"{"end": "trap"}"#), 1, &["run() was stopped: wasm trap: ", "::trap"]);
        assert_ended(
            &score("panic", &[], r#"{"end": "unsupported_input", "secret": "s"}"#),
            1,
            &["unsupported input (415): s"],
        );
        assert_ended(&score("flood", &["--memory", "16MiB"], r#"{"body_bytes": 50000000}"#), 1, &["raise --memory"]);
        assert_ended(&score("flood", &[], r#"{"status": 404, "body_bytes": 3}"#), 1, &["answered with status 404"]);
        assert_ended(&score("echo", &["--content-type", "bad\ntype"], ""), 1, &["is no content type"]);
        let logged = score("flood", &[], r#"{"records": 1, "record_bytes": 4}"#);
        assert_ended(&logged, 0, &["[info] xxxx", "[stdout] xxxx", "[stderr] xxxx"]);
        assert_eq!(logged.stdout, "", "an empty answer is an empty line at most");
    }

    #[test]
    fn a_scorer_cannot_send_commands_to_the_terminal() {
        let guest = fixtures::guest("panic");
        let arguments: [&OsStr; 5] =
            ["run".as_ref(), guest.as_os_str(), "--no-cache".as_ref(), "--data".as_ref(), "-".as_ref()];
        for end in ["panic", "error", "bad_input", "unsupported_input"] {
            let input = json!({"end": end, "secret": "a\u{1b}[2Jb"}).to_string();
            let ended = run_with_input(arguments, input.as_bytes());
            assert_ended(&ended, 1, &["[2Jb"]);
            assert!(!ended.stderr.contains('\u{1b}'), "{end}: {:?}", ended.stderr);
        }
    }
}

mod build {
    use super::*;

    #[test]
    fn what_is_no_project_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("model.wasm");
        let build = |project: &OsStr| run(["build".as_ref(), project, "-o".as_ref(), output.as_os_str()]);
        assert_ended(&build(folder.path().as_os_str()), 1, &["error: ", "has neither a Cargo.toml nor a score.py"]);
        fs::write(folder.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        assert_ended(&build(folder.path().as_os_str()), 1, &["is a workspace without a crate of its own"]);
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        fs::write(
            folder.path().join("Cargo.toml"),
            "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
        )
        .unwrap();
        assert_ended(&build(folder.path().as_os_str()), 1, &["is no cdylib", "crate-type = [\"cdylib\"]"]);
        assert!(!output.exists());
    }

    #[test]
    fn a_folder_for_the_component_that_is_not_there_is_said() {
        let iris = fixtures::example("iris-rust");
        let ended = run(["build".as_ref(), iris.as_os_str(), "-o".as_ref(), "/nothing/model.wasm".as_ref()]);
        assert_ended(&ended, 1, &["cannot write /nothing/model.wasm", "create it first"]);
    }
}

mod real_server {
    use super::*;

    #[test]
    fn the_options_of_the_real_server_are_taken() {
        let iris = fixtures::example("iris-rust");
        let server = Serve::nothing()
            .arg("--entry_script")
            .arg(iris.join("model.wasm"))
            .arg("--model_dir")
            .arg(iris.join("model"))
            .args("--worker_count 2 --appinsights_instrumentation_key none --access_control_allow_origins *")
            .start();
        assert_eq!(server.score(IRIS).status, 200);
        server.logged("Worker Count: 2");
        server.logged("Invalid Application Insights instrumentation key provided.");
    }

    #[test]
    fn the_environment_and_the_configuration_file_of_the_real_server_are_taken() {
        let iris = fixtures::example("iris-rust");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let spin = fixtures::guest("spin");
        let config = json!({"SCORING_TIMEOUT_MS": 120, "SERVICE_NAME": "from the file", "UNKNOWN": 1});
        fs::write(&file, config.to_string()).unwrap();
        let server = Serve::nothing()
            .env("AZUREML_ENTRY_SCRIPT", iris.join("model.wasm"))
            .env("AZUREML_MODEL_DIR", iris.join("model"))
            .env("SERVICE_NAME", "from the environment")
            .arg("--config_file")
            .arg(&file)
            .start();
        assert_eq!(server.score(IRIS).status, 200);
        assert_eq!(server.get("/swagger.json").json()["info"]["title"], "from the environment");
        let server = Serve::new(spin).env("AZUREML_CONFIG_FILE", &file).start();
        server.score(r#"{"spin": true}"#).assert_error(500, "Scoring timeout after 120 ms");
        assert_eq!(server.get("/swagger.json").json()["info"]["title"], "from the file");
    }

    #[test]
    fn health_has_a_port_of_its_own_when_it_is_asked_for() {
        let port = scorebox_tests::server::free_port();
        let server = Serve::example("iris-rust")
            .env("SEPERATE_HEALTH_ENDPOINT", "true")
            .arg("--health_port")
            .arg(port.to_string())
            .start();
        server.logged(&format!("listening on http://127.0.0.1:{port}"));
        let mut client = scorebox_tests::Client::connect(([127, 0, 0, 1], port).into()).unwrap();
        assert_eq!(client.send(&Request::get("/")).unwrap().text(), "Healthy");
        assert_eq!(server.get("/").text(), "Healthy");
    }
}

mod log {
    use std::net::{Ipv4Addr, SocketAddr};

    use rustix::process::Signal;
    use scorebox_tests::wait::{PATIENCE, eventually};
    use scorebox_tests::{Client, python};

    use super::*;

    /// A script that prints a text, or logs it with the logger of a name, and fails where it is asked to.
    const SAYS: &str = r#"import json
import logging


def init():
    pass


def run(data):
    asked = json.loads(data)
    if "logger" in asked:
        logger = logging.getLogger(asked["logger"])
        # As the server's own; with a `logging.json` all have those of the root.
        logger.handlers[:] = logging.getLogger("azmlinfsrv").handlers
        logger.warning(asked["text"])
    else:
        print(asked["text"])
    if "error" in asked:
        raise ValueError(asked["error"])
"#;

    #[test]
    fn records_of_every_level_have_the_id_of_their_request_whatever_the_level_of_the_log_is() {
        let app = fixtures::folder(&[("score.py", SAYS)]);
        let port = scorebox_tests::server::free_port();
        let serve = python::serve(app.path().join("score.py")).args("--log-format json --log-level warn");
        let (process, _shared) = serve.spawn(port);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connect = || Client::connect(address);
        // Its log does not say so.
        eventually(PATIENCE, "it is ready", || {
            let answer = connect().and_then(|mut client| client.send(&Request::get("/readyz")));
            answer.is_ok_and(|answer| answer.status == 200)
        });
        let body = json!({"logger": "azmlinfsrv.mine", "text": "a warning", "error": "a failure"});
        let request = Request::json(body.to_string()).header("x-request-id", "id-1");
        let request = request.header("x-ms-client-request-id", "c-1");
        assert_eq!(connect().unwrap().send(&request).unwrap().status, 500);
        process.signal(Signal::TERM);
        let ended = process.wait(PATIENCE);
        for text in ["a warning", "a failure"] {
            let lines: Vec<_> = ended.stdout.lines().filter(|line| line.contains(text)).collect();
            assert!(!lines.is_empty(), "no {text:?} in {}", ended.stdout);
            for line in lines {
                let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                let logger = record["logger"].as_str().expect("a record has a logger");
                assert!(logger.starts_with("azmlinfsrv"), "{record}");
                assert_eq!((&record["request_id"], &record["client_request_id"]), (&json!("id-1"), &json!("c-1")));
            }
        }
    }

    #[test]
    fn a_scorers_logger_has_no_name_of_the_hosts() {
        let app = fixtures::folder(&[("score.py", SAYS)]);
        let server = python::serve(app.path().join("score.py")).start();
        for (name, shown) in [
            ("scorebox", "azmlinfsrv.scorer.scorebox"),
            ("scorebox - forged", "azmlinfsrv.scorer.scorebox - forged"),
            ("gunicorn.access", "azmlinfsrv.scorer.gunicorn.access"),
            (" scorebox", "azmlinfsrv.scorer. scorebox"),
            ("\u{200b}gunicorn.access", "azmlinfsrv.scorer.\u{200b}gunicorn.access"),
            ("\u{455}corebox", "azmlinfsrv.scorer.\u{455}corebox"),
            ("azmlinfsrv.mine", "azmlinfsrv.mine"),
            ("mine", "mine"),
        ] {
            let text = format!("said by {name}.");
            assert_eq!(server.score(&json!({"logger": name, "text": text}).to_string()).status, 200);
            let line = server.logged(&text);
            assert!(line.contains(" W [") && line.ends_with(&format!("] {shown} - {text}")), "{line}");
        }
    }

    #[test]
    fn text_of_a_script_cannot_pass_for_a_record_in_the_format_of_a_logging_json() {
        let config = json!({
            "version": 1,
            "disable_existing_loggers": false,
            "formatters": {"short": {"format": "%(levelname)s:%(name)s:%(message)s"}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "short", "stream": "ext://sys.stdout"}},
            "root": {"level": "INFO", "handlers": ["out"]},
        });
        let config = config.to_string();
        let app = fixtures::folder(&[("score.py", SAYS), ("logging.json", &*config)]);
        let server = python::serve(app.path().join("score.py")).start();
        for asked in [
            json!({"text": "printed\nCRITICAL:azmlinfsrv:forged"}),
            json!({"logger": "named\nCRITICAL:azmlinfsrv:forged", "text": "said"}),
        ] {
            assert_eq!(server.score(&asked.to_string()).status, 200);
        }
        let ended = server.stop();
        assert_eq!(ended.code, Some(0));
        let is_said = |line: &&str| line.contains("printed") || line.contains("forged");
        let said: Vec<_> = ended.stdout.lines().filter(is_said).collect();
        let named = r"WARNING:azmlinfsrv.scorer.named\x0aCRITICAL:azmlinfsrv:forged:said";
        assert_eq!(said, ["INFO:azmlinfsrv.print:printed", "\tCRITICAL:azmlinfsrv:forged", named]);
    }

    #[test]
    fn every_line_of_the_log_in_json_is_an_object_and_a_scorers_records_have_the_id_of_the_request() {
        let server = Serve::guest("flood").args("--log-format json").start();
        let flood = r#"{"records": 2, "record_bytes": 6}"#;
        for id in ["id-1", "id-2"] {
            let request = Request::json(flood).header("x-request-id", id).header("x-ms-client-request-id", "c");
            assert_eq!(server.send(&request).status, 200);
        }
        assert_eq!(server.send(&Request::get("/swagger.json?version=9")).status, 404);
        let ended = server.stop();
        let records: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect();
        for record in &records {
            for field in ["timestamp", "level", "logger", "message"] {
                assert!(record[field].is_string(), "no {field} in {record}");
            }
        }
        let said: Vec<_> = records.iter().filter(|record| record["message"] == "xxxxxx").collect();
        assert_eq!(said.len(), 12, "two requests, two records, three streams");
        for logger in ["azmlinfsrv.scorer", "azmlinfsrv.print", "azmlinfsrv.stderr"] {
            for id in ["id-1", "id-2"] {
                let of = said.iter().filter(|record| record["logger"] == logger && record["request_id"] == id);
                assert_eq!(of.count(), 2, "{logger} {id}");
            }
        }
        assert!(said.iter().all(|record| record["client_request_id"] == "c"), "{said:?}");
        assert!(records.iter().any(|record| record["logger"] == "gunicorn.access"));
    }

    #[test]
    fn every_line_of_the_log_in_text_begins_like_one_of_the_contract() {
        let server = Serve::guest("flood").start();
        assert_eq!(server.send(&Request::json("{}").header("user-agent", b"curl/8\" \xff")).status, 200);
        assert_eq!(server.get("/score?status=x%0d%0a").status, 400);
        let ended = server.stop();
        // The settings, which are no records, end with an empty line after the routes.
        let records = ended.stdout.lines().skip_while(|line| !line.starts_with("Score:")).skip(2);
        for line in records {
            let (time, rest) = line.split_at_checked(23).unwrap_or_else(|| panic!("{line:?}"));
            let shape: String = time.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
            assert_eq!(shape, "0000-00-00 00:00:00,000", "{line:?}");
            assert!([" D [", " I [", " W [", " E [", " C ["].iter().any(|level| rest.starts_with(level)), "{line:?}");
            let loggers = ["] azmlinfsrv", "] gunicorn.access - ", "] scorebox - "];
            assert!(loggers.iter().any(|logger| rest.contains(logger)), "{line:?}");
            assert!(line.is_ascii() && !line.contains(|char: char| char.is_control()), "{line:?}");
        }
        assert!(ended.stdout.contains(" azmlinfsrv - POST /score 200 "), "{}", ended.stdout);
        assert!(ended.stdout.contains(" azmlinfsrv - GET /score?status=x%0d%0a 400 "), "{}", ended.stdout);
        assert!(ended.stdout.contains(r#""POST /score HTTP/1.1" 200 0 "-" "curl/8\" \xff""#), "{}", ended.stdout);
    }

    #[test]
    fn health_checks_leave_no_line_and_the_request_log_can_be_switched_off() {
        let server = Serve::example("iris-rust").args("--no-request-log").start();
        assert_eq!(server.get("/").status, 200);
        assert_eq!(server.score(IRIS).status, 200);
        let ended = server.stop();
        assert!(!ended.stdout.contains("POST /score"), "{}", ended.stdout);
        let server = Serve::example("iris-rust").start();
        assert_eq!(server.get("/").status, 200);
        assert_eq!(server.get("/livez").status, 200);
        let ended = server.stop();
        assert!(!ended.stdout.contains("GET /"), "{}", ended.stdout);
    }

    #[test]
    fn a_server_whose_output_nobody_reads_goes_on() {
        use std::io::Read as _;
        use std::process::Stdio;

        let port = scorebox_tests::server::free_port();
        let cache = tempfile::tempdir().unwrap();
        let mut command = scorebox_tests::process::scorebox();
        command.args(["serve", "--address", "127.0.0.1", "--port", &port.to_string(), "--cache-dir"]).arg(cache.path());
        command.arg(fixtures::guest("flood")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let address = ([127, 0, 0, 1], port).into();
        scorebox_tests::wait::eventually(scorebox_tests::wait::PATIENCE, "it listens", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        let mut client = scorebox_tests::Client::connect(address).unwrap();
        // Some megabytes, where a pipe takes 64 KiB.
        for _ in 0..50 {
            let response = client.send(&Request::json(r#"{"records": 10, "record_bytes": 10000}"#)).unwrap();
            assert_eq!(response.status, 200);
        }
        child.kill().unwrap();
        let mut rest = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        child.wait().unwrap();
        assert!(rest.len() < 1 << 20, "it was not read: {}", rest.len());
    }
}
