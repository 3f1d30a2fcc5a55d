use super::*;
use std::os::unix::fs::symlink;
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

#[test]
fn a_sighup_that_comes_before_the_first_script_is_served_is_not_lost() {
    const SLOW: &str = "import time\n\n\ndef init():\n    print('it begins')\n    time.sleep(2)\n\n\n";
    let app = folder(&[("score.py", &format!("{SLOW}def run(data):\n    return 1\n"))]);
    let port = free_port();
    let (process, _shared) = in_python(app.path()).args("--entry_script score.py").spawn(port);
    assert!(process.line(PATIENCE, |line| line.contains("it begins")).is_some(), "{}", process.said());
    fs::write(app.path().join("score.py"), script(2)).unwrap();
    process.signal(Signal::HUP);
    assert!(process.line(PATIENCE, |line| line.contains("SIGHUP: the scorer is read again")).is_some());
    let score = || Client::connect(([127, 0, 0, 1], port).into())?.send(&Request::json("{}"));
    eventually(PATIENCE, "the changed script answers", || score().is_ok_and(|response| response.json() == 2));
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_script_is_read_again_after_the_program_was_replaced() {
    let app = folder(&[("score.py", &script(1))]);
    let installed = tempfile::tempdir().unwrap();
    let program = installed.path().join("scorebox");
    let original = fixtures::binary().canonicalize().unwrap();
    fs::copy(&original, &program).unwrap();
    symlink(original.with_file_name("python-runtime"), installed.path().join("python-runtime")).unwrap();
    let port = free_port();
    let mut command = hermetic(&program);
    command.args(["serve", "score.py", "--port", &port.to_string()]).current_dir(app.path());
    command.env("SCOREBOX_ADDRESS", "127.0.0.1").env("SCOREBOX_CACHE_DIR", python::compiled_cache());
    command.env("SCOREBOX_CACHE_SIZE", "3GiB");
    let process = Process::start(&mut command);
    assert!(process.line(PATIENCE, |line| line.contains("listening on")).is_some(), "{}", process.said());
    fs::write(app.path().join("score.py"), script(2)).unwrap();
    let upgraded = installed.path().join("new");
    fs::write(&upgraded, "another program").unwrap();
    fs::rename(&upgraded, &program).unwrap();
    process.signal(Signal::HUP);
    let score = || Client::connect(([127, 0, 0, 1], port).into())?.send(&Request::json("{}"));
    eventually(PATIENCE, "the changed script answers", || score().is_ok_and(|response| response.json() == 2));
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).code, Some(0));
}
