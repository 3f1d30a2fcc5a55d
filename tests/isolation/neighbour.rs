//! Those who behave well beside those who do not: another kind of request to the same server, and another server.
#![allow(clippy::print_stdout, reason = "figures, for whoever asks for them with `--nocapture`")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scorebox_tests::host::{Host, address, last};
use scorebox_tests::process::hermetic;
use scorebox_tests::python::succeed;
use scorebox_tests::wait::{SetOnFailure, eventually, median};
use scorebox_tests::{Client, Request, Serve, Server};
use serde_json::json;

#[path = "hostile/component.rs"]
#[allow(dead_code, reason = "the program `hostile` uses the rest")]
mod component;

use component::{Guest, Written, hundred_thousand_functions, with_core_modules};

/// Requests of a window, and windows of each kind.
const REQUESTS: usize = 200;
const WINDOWS: usize = 7;
/// How many attack at the same time.
const ATTACKERS: usize = 8;
/// How many times as long the 99th percentile may be beside an attack.
const NOTICED: f64 = 1.5;
/// How often that is measured again before it counts.
const ATTEMPTS: usize = 3;
/// How much longer the 99th percentile may be where cores are shared.
const SLICES: Duration = Duration::from_millis(40);
/// How much longer it may be where threads are shared: the attackers have a turn of 5 ms each, and what they answer is
/// copied.
const TURNS: Duration = Duration::from_millis(500);

/// How long a request may take at most while a module is compiled that is hard to compile.
const ANSWERED: Duration = Duration::from_secs(1);
/// How long that may be in coming.
const COMPILED: Duration = Duration::from_mins(3);

/// The attacks, by the first byte of the body.
const ATTACKS: &[(u8, &str, &str)] = &[
    (b'l', "spins", "(loop $for_ever (br $for_ever))"),
    (b'u', "traps", "unreachable"),
    (
        b'g',
        "takes 64 MiB",
        "(loop $more
          (local.set $n (memory.grow (i32.const 1)))
          (if (i32.ne (local.get $n) (i32.const -1))
            (then (i32.store (i32.mul (local.get $n) (i32.const 65536)) (i32.const 1)) (br $more))))
        unreachable",
    ),
    (b'r', "recurses", "(call $down)"),
    (
        b'b',
        "answers with 16 MiB",
        "(drop (memory.grow (i32.const 256))) (i32.store (i32.const 208) (i32.const 0)) (i32.store (i32.const 212) (i32.const 16777216))",
    ),
    (
        b'p',
        "floods the log",
        "(local.set $n (i32.const 100000))
        (loop $more
          (call $log (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 2))
          (local.set $n (i32.sub (local.get $n) (i32.const 1)))
          (br_if $more (local.get $n)))",
    ),
];

/// What is measured here is measured one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn guest() -> Guest {
    let guest = Guest::new().field("(func $down (call $down) (call $down))");
    ATTACKS.iter().fold(guest, |guest, (kind, _, text)| guest.when(*kind, text))
}

/// A server of the guest, whose scorers may have 250 ms and 64 MiB.
fn serve() -> (Written, Serve) {
    let (written, serve) = guest().serve();
    (written, serve.args("--timeout 250ms --memory 64MiB --no-request-log"))
}

/// Where a scorer is, and how it is asked.
struct Scorer<'a> {
    server: &'a Server,
    /// The path of its endpoint and a key, where the server has tenants.
    endpoint: Option<(&'static str, &'a str)>,
}

impl<'a> Scorer<'a> {
    /// The only one of its server.
    fn only(server: &'a Server) -> Self {
        Self { server, endpoint: None }
    }

    fn request(&self, body: &[u8]) -> Request {
        let request = Request::score(body);
        match self.endpoint {
            Some((path, key)) => request.to(&format!("/{path}/score")).header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }
}

/// Has the calling thread run on one core, with the threads that it starts.
fn stay_on_core(core: &str) {
    let thread = fs::read_link("/proc/thread-self").expect("a thread");
    let thread = thread.file_name().expect("a number").to_owned();
    succeed(hermetic("taskset").args(["-cp", core]).arg(thread));
}

/// Attacks with this kind of request until told to stop.
fn attack_until(attacked: &Scorer<'_>, kind: u8, stop: &AtomicBool) {
    // What the attackers' own machines would compute is no part of it.
    rustix::process::nice(19).expect("everybody may be nicer");
    let mut client = attacked.server.connect();
    let request = attacked.request(&[kind]);
    while !stop.load(Ordering::Relaxed) {
        let response = client.send(&request).expect("an answer");
        assert!(matches!(response.status, 200 | 500), "{response:?}");
    }
}

/// The 99th percentile of the times of well-behaved requests, one after the other.
fn window(client: &mut Client, request: &Request) -> Duration {
    let mut times: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let begin = Instant::now();
            let response = client.send(request).expect("an answer");
            assert_eq!((response.status, response.text()), (200, "ok"));
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[REQUESTS * 99 / 100 - 1]
}

/// Medians of the 99th percentiles of windows.
#[derive(Debug)]
struct Found {
    alone: Duration,
    beside: Duration,
}

impl Found {
    fn ratio(&self) -> f64 {
        self.beside.as_secs_f64() / self.alone.as_secs_f64()
    }
}

/// Measures in turns: the neighbour alone, and while the other server is attacked, by clients
/// on the first of two cores if they are named, with its own client on the second.
fn measure(neighbour: &Scorer<'_>, attacked: &Scorer<'_>, kind: u8, cores: Option<(&str, &str)>) -> Found {
    let mut client = neighbour.server.connect();
    let well = neighbour.request(b"well");
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    window(&mut client, &well);
    for _ in 0..WINDOWS {
        alone.push(window(&mut client, &well));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _failure = SetOnFailure(&stop);
            let begin = attacked.server.process().cpu_time();
            // Threads run where the one was that has started them.
            if let Some((others, _)) = cores {
                stay_on_core(others);
            }
            for _ in 0..ATTACKERS {
                scope.spawn(|| attack_until(attacked, kind, &stop));
            }
            if let Some((_, own)) = cores {
                stay_on_core(own);
            }
            eventually(Duration::from_secs(10), "the attack has begun", || {
                attacked.server.process().cpu_time() >= begin + Duration::from_millis(30)
            });
            beside.push(window(&mut client, &well));
            stop.store(true, Ordering::Relaxed);
        });
    }
    Found { alone: median(&alone), beside: median(&beside) }
}

#[test]
fn a_server_with_a_core_of_its_own_answers_as_fast_beside_one_that_is_attacked() {
    let _alone = alone();
    let (_first, attacked) = serve();
    let (_second, neighbour) = serve();
    // Whoever reads the log of the one that is attacked has its core.
    stay_on_core("0");
    let attacked = attacked.under(["taskset", "-c", "0"]).start();
    stay_on_core("1");
    let neighbour = neighbour.under(["taskset", "-c", "1"]).start();
    for (kind, what, _) in ATTACKS {
        // Others have their own use for the second core now and then.
        let mut found = measure(&Scorer::only(&neighbour), &Scorer::only(&attacked), *kind, Some(("0", "1")));
        for _ in 0..ATTEMPTS {
            println!("a core each, while the other one {what}: {found:?}, {:.2} times", found.ratio());
            if found.ratio() <= NOTICED {
                break;
            }
            found = measure(&Scorer::only(&neighbour), &Scorer::only(&attacked), *kind, Some(("0", "1")));
        }
        assert!(found.ratio() <= NOTICED, "while the other one {what}: {found:?}, {:.2} times", found.ratio());
    }
}

/// Cores are shared out by the system, in slices of some milliseconds: more than a request takes that needs next to none.
#[test]
fn a_server_that_shares_all_cores_with_one_that_is_attacked_waits_for_slices_and_no_longer() {
    let _alone = alone();
    let (_first, attacked) = serve();
    let (_second, neighbour) = serve();
    let attacked = attacked.args("--threads 1").start();
    let neighbour = neighbour.start();
    for (kind, what, _) in ATTACKS {
        let found = measure(&Scorer::only(&neighbour), &Scorer::only(&attacked), *kind, None);
        println!("shared cores, while the other one {what}: {found:?}, {:.2} times", found.ratio());
        assert!(found.beside <= found.alone + SLICES, "while the other one {what}: {found:?}");
    }
}

#[test]
fn another_kind_of_request_to_the_server_that_is_attacked_gets_its_turns() {
    let _alone = alone();
    let (_written, serve) = serve();
    let server = serve.start();
    for (kind, what, _) in ATTACKS {
        let found = measure(&Scorer::only(&server), &Scorer::only(&server), *kind, None);
        println!("the same server, while it {what}: {found:?}, {:.2} times", found.ratio());
        assert!(found.beside <= found.alone + TURNS, "while it {what}: {found:?}");
    }
}

#[test]
fn another_tenant_of_the_server_that_is_attacked_waits_for_slices_and_copies_and_no_longer() {
    let _alone = alone();
    let host = Host::start_as(|serve| serve.arg("--no-request-log"));
    let bundle = host.upload(&guest().component());
    let keys = ["hostile/e", "neighbour/e"].map(|path| {
        let key = host.endpoint(path);
        let deployment = format!("{path}/blue");
        let limits = json!({"timeout_ms": 250, "memory": 64 << 20});
        assert_eq!(host.put(&address(&deployment), &json!({"bundle": bundle, "limits": limits})).status, 202);
        assert_eq!(last(&host.deployed(&deployment))["state"]["state"], "ready");
        host.give_all_traffic(&deployment);
        key
    });
    let [attacked, neighbour] = [("hostile/e", &*keys[0]), ("neighbour/e", &*keys[1])]
        .map(|endpoint| Scorer { server: &host.server, endpoint: Some(endpoint) });
    for (kind, what, _) in ATTACKS {
        let found = measure(&neighbour, &attacked, *kind, None);
        println!("another tenant, while one {what}: {found:?}, {:.2} times", found.ratio());
        // What a scorer answers with is copied by the host, which is not interrupted.
        let longer = if *kind == b'b' { TURNS } else { SLICES };
        assert!(found.beside <= found.alone + longer, "while one {what}: {found:?}");
    }
}

/// Asks again and again until told to stop, and returns how long each answer took.
fn ask_until(server: &Server, stop: &AtomicBool) -> Vec<Duration> {
    let mut client = server.connect();
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let response = client.send(&Request::score("well")).expect("an answer");
        times.push(begin.elapsed());
        assert_eq!((response.status, response.text()), (200, "ok"));
        std::thread::sleep(Duration::from_millis(2));
    }
    times
}

#[test]
fn requests_are_answered_within_a_second_while_a_hundred_thousand_functions_are_deployed_beside_them() {
    let _alone = alone();
    let (written, first) = Guest::new().serve();
    let (_other, second) = Guest::new().serve();
    let (server, neighbour) = (first.start(), second.start());
    let new = written.path().with_extension("new");
    fs::write(&new, with_core_modules(&Guest::new().component(), &[hundred_thousand_functions()])).expect("a file");
    fs::rename(&new, written.path()).expect("the folder is ours");
    let deployed = || server.log().iter().filter(|line| line.contains("is deployed as")).count();
    assert_eq!(deployed(), 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _failure = SetOnFailure(&stop);
        let [own, others] = [&server, &neighbour].map(|server| scope.spawn(|| ask_until(server, &stop)));
        let begin = Instant::now();
        server.process().signal(Signal::HUP);
        eventually(COMPILED, "it is deployed", || deployed() == 2);
        let took = begin.elapsed();
        stop.store(true, Ordering::Relaxed);
        for (who, times) in [("the same server", own), ("another server", others)] {
            let times = times.join().expect("all are answered");
            let slowest = times.iter().max().copied().unwrap_or_default();
            println!(
                "100,000 functions, deployed after {took:?}: {who} gave {} answers within {slowest:?}",
                times.len()
            );
            assert!(
                times.len() >= 100 && slowest <= ANSWERED,
                "{who} gave {} answers, within {slowest:?}",
                times.len()
            );
        }
    });
}
