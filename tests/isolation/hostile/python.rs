//! Scripts that do harm. What `python_behaviour` has is not repeated.

use std::time::{Duration, Instant};

use scorebox_tests::{Request, Response, Server, fixtures, python};

use crate::{assert_script_failed, assert_timed_out};

const SCRIPT: &str = r#"
import atexit
import gc
import json
import re
import sys
import time

from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

runs = 0


def steps(clock):
    last, seen = clock(), []
    while len(seen) < 50:
        now = clock()
        if now != last:
            seen.append(now - last)
        last = now
    return seen


class EndlessEnd:
    def __del__(self):
        while True:
            pass


def init():
    pass


@rawhttp
def run(request):
    global runs
    runs += 1
    body = request.get_data(False).decode()
    if body == "drop":
        EndlessEnd()
    elif body == "drop later":
        end = EndlessEnd()
        end.itself = end
        del end
        gc.collect()
    elif body == "regular expression":
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif body == "power":
        9 ** 9 ** 9
    elif body == "line":
        for _ in range(1 << 6):
            sys.stdout.write("x" * (1 << 16))
    elif body == "lines":
        for _ in range(300_000):
            print()
    elif body == "large":
        return AMLResponse(b"x" * (2 << 20), 200)
    elif body == "status":
        return AMLResponse(b"x", 99)
    elif body == "not a status":
        return AMLResponse(b"x", 1 << 70)
    elif body == "surrogate":
        return AMLResponse("\udc80", 200)
    elif body == "clocks":
        names = ["perf_counter_ns", "monotonic_ns", "time_ns"]
        return AMLResponse(json.dumps({name: steps(getattr(time, name)) for name in names}), 200)
    elif body == "exit handler":
        atexit.register(EndlessEnd().__del__)
    elif body.startswith("header "):
        name, value = body.removeprefix("header ").split("|", 1)
        response = AMLResponse(b"x", 200)
        response.headers._list.append((name, value))
        return response
    return AMLResponse(str(runs).encode(), 200)
"#;

fn serve() -> (tempfile::TempDir, Server) {
    let folder = fixtures::folder(&[("score.py", SCRIPT)]);
    let serve = python::serve(folder.path().join("score.py")).args("--timeout 5s --max-response 1MiB --max-log 64KiB");
    let server = serve.start();
    (folder, server)
}

fn ask(server: &Server, body: &str) -> Response {
    server.send(&Request::score(body))
}

#[track_caller]
fn assert_first(response: &Response) {
    assert_eq!((response.status, response.text()), (200, "1"));
}

#[test]
fn a_script_that_does_harm_fails_its_request_and_no_other() {
    let (_folder, server) = serve();
    assert_first(&ask(&server, "well"));
    for bad in ["drop", "drop later", "regular expression", "power"] {
        let begin = Instant::now();
        assert_timed_out(&ask(&server, bad), Duration::from_secs(5));
        assert!(begin.elapsed() < Duration::from_secs(10), "{bad}: {:?}", begin.elapsed());
        // It counts its runs, and never gets past one.
        assert_first(&ask(&server, "well"));
    }
    for bad in ["large", "status", "not a status", "surrogate"] {
        let response = ask(&server, bad);
        assert_eq!(response.status, 500, "{bad}: {response:?}");
        assert_first(&ask(&server, "well"));
    }
    assert_script_failed(&ask(&server, "large"));
    // Nothing is called after the answer: there is no end of the process.
    assert_first(&ask(&server, "exit handler"));
}

#[test]
fn what_a_script_prints_is_cut_at_the_limit_of_the_log() {
    let (_folder, server) = serve();
    for flood in ["line", "lines"] {
        let response = ask(&server, flood);
        assert!(matches!(response.status, 200 | 500), "{flood}: {response:?}");
        server.logged("log limit reached: ");
        assert_first(&ask(&server, "well"));
    }
    let logged: usize = server.log().iter().map(String::len).sum();
    // The limit each time, and what a line begins with: a record costs 32 bytes of the limit, which makes 2,048 of them.
    assert!(logged <= 2 * ((64 << 10) + 2048 * 128), "{logged} bytes");
}

/// What a script can tell the time by.
#[test]
fn clocks_of_a_script_are_coarse() {
    let (_folder, server) = serve();
    let clocks = ask(&server, "clocks").json();
    println!("{clocks}");
    for clock in ["perf_counter_ns", "monotonic_ns", "time_ns"] {
        let steps = clocks[clock].as_array().expect("steps of this clock, in nanoseconds");
        assert_eq!(steps.len(), 50, "{clocks}");
        assert!(steps.iter().all(|step| step.as_i64().is_some_and(|step| step % 100_000 == 0)), "{clock}: {clocks}");
    }
}

#[test]
fn a_header_of_a_script_cannot_begin_another_one() {
    let (_folder, server) = serve();
    for header in
        ["x-a|b\r\nset-cookie: stolen", "x-a|b\nset-cookie: stolen", "x-a|b\0stolen", "x-a: b\r\nset-cookie|stolen"]
    {
        let mut client = server.connect();
        let request = Request::score(format!("header {header}")).header("connection", "close");
        client.write(&request.to_bytes()).expect("the server listens");
        let answer = client.read_to_end().expect("an answer").escape_ascii().to_string();
        assert!(answer.starts_with("HTTP/1.1 200 OK") || answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(!answer.contains("stolen"), "{answer}");
        assert_first(&ask(&server, "well"));
    }
}
