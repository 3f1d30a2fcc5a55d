//! What is sent to a server.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::random::Random;
use scorebox_tests::{Client, Request};
use serde::Serialize;

use crate::server::Server;

/// Clients at the same time, for each server.
const CLIENTS: u64 = 6;
/// How long the scorer that does harm may compute.
const TIMEOUT: &str = "1s";
/// How often the operator has a scorer read again.
const RELOADS: Duration = Duration::from_secs(15);

/// What is sent to a server, and with which arguments that is started.
#[derive(Debug)]
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [&'static str],
    /// Requests in a second, of all clients together.
    per_second: f64,
    kinds: Vec<Kind>,
}

/// A kind of request, or of client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// How often it comes, among the others: never, but for once at the begin, when it is zero.
    weight: u64,
    send: Send,
}

#[derive(Debug, Clone, Copy)]
enum Send {
    /// A request that has one of these statuses for an answer.
    Score(&'static str, &'static [u16]),
    /// A request with many rows for a body.
    Rows(usize, &'static [u16]),
    Get(&'static str, &'static [u16]),
    /// Bytes that are no HTTP.
    Garbage,
    /// A request whose client goes away before the answer, which is so long in coming.
    Abort(&'static str, Duration),
    /// A body of which a part comes, and then nothing any more.
    HalfBody,
    /// A head that comes in pieces, with pauses, and is answered all the same.
    Slow,
    /// A connection on which nothing is sent.
    Silent(Duration),
    /// The operator has the scorer read again.
    Reload,
}

/// How many of a kind there were.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    /// Those that had another end than they may have.
    pub(crate) unexpected: u64,
    pub(crate) unexpected_example: Option<String>,
}

const IRIS: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#;

impl Mix {
    /// A scorer in Rust, most of whose requests are well.
    pub(crate) fn rust() -> Self {
        let kinds = [
            ("score", 60, Send::Score(IRIS, &[200])),
            ("score, 1,000 rows", 6, Send::Rows(1000, &[200])),
            ("score, wrong input", 8, Send::Score(r#"{"data": "no rows"}"#, &[400])),
            ("score, no JSON", 4, Send::Score("{", &[400, 500])),
            ("swagger", 4, Send::Get("/swagger.json", &[200])),
            ("health", 8, Send::Get("/readyz", &[200])),
            ("no such path", 3, Send::Get("/nothing", &[404])),
            ("no HTTP", 3, Send::Garbage),
            ("gone before the answer", 4, Send::Abort(IRIS, Duration::ZERO)),
            ("half a body", 1, Send::HalfBody),
            ("slow head", 1, Send::Slow),
            ("silent", 1, Send::Silent(Duration::from_millis(300))),
            ("reload", 0, Send::Reload),
        ];
        Self::new("rust", &[], 100.0, &kinds)
    }

    /// A script in Python.
    pub(crate) fn python() -> Self {
        let kinds = [
            ("score", 60, Send::Score(IRIS, &[200])),
            ("score, 200 rows", 8, Send::Rows(200, &[200])),
            ("score, wrong input", 8, Send::Score(r#"{"data": "no rows"}"#, &[400, 500])),
            ("swagger", 4, Send::Get("/swagger.json", &[200])),
            ("health", 8, Send::Get("/readyz", &[200])),
            ("gone before the answer", 4, Send::Abort(IRIS, Duration::ZERO)),
            ("half a body", 1, Send::HalfBody),
            ("reload", 0, Send::Reload),
        ];
        Self::new("python", &["--model_dir", "model"], 20.0, &kinds)
    }

    /// A scorer that does harm.
    pub(crate) fn hostile() -> Self {
        let busy = Duration::from_millis(50);
        let kinds = [
            ("well", 20, Send::Score(r#"{"mode": "well"}"#, &[200])),
            ("spin", 1, Send::Score(r#"{"mode": "spin"}"#, &[500])),
            ("spin, client gone", 3, Send::Abort(r#"{"mode": "spin"}"#, busy)),
            // What fits is answered, unless it takes too long.
            ("alloc, fits", 6, Send::Score(r#"{"mode": "alloc", "amount": 24}"#, &[200, 500])),
            ("alloc, too much", 6, Send::Score(r#"{"mode": "alloc", "amount": 500}"#, &[500])),
            ("alloc, client gone", 3, Send::Abort(r#"{"mode": "alloc", "amount": 24}"#, Duration::from_millis(5))),
            ("panic", 8, Send::Score(r#"{"mode": "panic"}"#, &[500])),
            ("trap", 8, Send::Score(r#"{"mode": "trap"}"#, &[500])),
            ("overflow", 6, Send::Score(r#"{"mode": "overflow"}"#, &[500])),
            ("log, too much", 4, Send::Score(r#"{"mode": "log", "amount": 4000}"#, &[200, 500])),
            ("answer, 4 MiB", 4, Send::Score(r#"{"mode": "answer", "amount": 4096}"#, &[200, 500])),
            ("answer, client gone", 4, Send::Abort(r#"{"mode": "answer", "amount": 4096}"#, Duration::ZERO)),
            ("no such mode", 4, Send::Score(r#"{"mode": "none"}"#, &[400, 500])),
            ("no HTTP", 3, Send::Garbage),
            ("half a body", 3, Send::HalfBody),
            ("slow head", 2, Send::Slow),
            ("silent", 2, Send::Silent(Duration::from_secs(4))),
            ("health", 8, Send::Get("/readyz", &[200])),
            ("reload", 0, Send::Reload),
        ];
        let arguments = &["--timeout", TIMEOUT, "--memory", "64MiB", "--max-running", "16", "--max-log", "1MiB"];
        Self::new("hostile", arguments, 30.0, &kinds)
    }

    fn new(
        name: &'static str,
        arguments: &'static [&'static str],
        per_second: f64,
        kinds: &[(&'static str, u64, Send)],
    ) -> Self {
        let kinds = kinds.iter().map(|&(name, weight, send)| Kind { name, weight, send }).collect();
        Self { name, arguments, per_second, kinds }
    }

    /// The kind that a number stands for.
    fn pick(&self, number: u64) -> usize {
        let all: u64 = self.kinds.iter().map(|kind| kind.weight).sum();
        let mut rest = number % all;
        self.kinds
            .iter()
            .position(|kind| {
                rest.checked_sub(kind.weight).is_none_or(|less| {
                    rest = less;
                    false
                })
            })
            .unwrap_or_default()
    }
}

/// Sends each kind once, and then goes on until it is over.
pub(crate) fn run(mix: &Mix, server: &Server, seed: u64, rate: f64, over: &AtomicBool) -> Vec<(Kind, Count)> {
    let counts = Mutex::new(vec![Count::default(); mix.kinds.len()]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let counts = &counts;
            let mut random = Random::new(seed.wrapping_mul(CLIENTS).wrapping_add(client));
            scope.spawn(move || {
                let mut connection = None;
                let count = |at: usize, connection: &mut Option<Client>| {
                    let end = mix.kinds[at].send.to(server, connection);
                    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                    counts[at].sent += 1;
                    if let Err(end) = end {
                        counts[at].unexpected += 1;
                        counts[at].unexpected_example.get_or_insert(end);
                    }
                };
                // Each kind at least once, however short the run.
                for at in (0..mix.kinds.len()).filter(|at| *at as u64 % CLIENTS == client) {
                    count(at, &mut connection);
                }
                let pause = Duration::from_secs_f64(CLIENTS as f64 / (mix.per_second * rate));
                let mut next = Instant::now();
                let mut reloaded = next;
                while !over.load(Relaxed) {
                    // Between nothing and twice the pause. What has been missed is not made up for.
                    next = (next + pause.mul_f64(random.fraction() * 2.0)).max(Instant::now());
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    let mut at = mix.pick(random.number());
                    if client == 0 && reloaded.elapsed() >= RELOADS {
                        reloaded = Instant::now();
                        at = mix.kinds.iter().position(|kind| matches!(kind.send, Send::Reload)).unwrap_or(at);
                    }
                    count(at, &mut connection);
                    // A new connection now and then.
                    if random.number().is_multiple_of(8) {
                        connection = None;
                    }
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    mix.kinds.iter().copied().zip(counts).collect()
}

impl Send {
    /// Sends it, on the connection that is kept where it may be, and says what was wrong with its end.
    fn to(self, server: &Server, kept: &mut Option<Client>) -> Result<(), String> {
        let address = server.address();
        match self {
            Self::Score(body, statuses) => answered(address, kept, &Request::json(body), statuses),
            Self::Rows(rows, statuses) => {
                let rows = vec!["[5.1, 3.5, 1.4, 0.2]"; rows].join(", ");
                answered(address, kept, &Request::json(format!(r#"{{"data": [{rows}]}}"#)), statuses)
            }
            Self::Get(target, statuses) => answered(address, kept, &Request::get(target), statuses),
            Self::Garbage => on_new(address, |client| {
                client.write(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")?;
                client.read_to_end().map(drop)
            }),
            Self::Abort(body, after) => {
                let mut client = connect(address)?;
                // The server may be faster.
                let _ = client.write(&Request::json(body).to_bytes());
                thread::sleep(after);
                // In one of the two ways in which a client can go away: by a reset, or by a close.
                if after.is_zero() {
                    let _ = client.reset();
                }
                Ok(())
            }
            Self::HalfBody => on_new(address, |client| {
                let request = Request::json(IRIS).to_bytes();
                client.write(&request[..request.len() - 5])
            }),
            Self::Slow => on_new(address, |client| {
                let request = Request::get("/livez").to_bytes();
                for piece in request.chunks(request.len() / 4) {
                    client.write(piece)?;
                    thread::sleep(Duration::from_millis(50));
                }
                client.read().map(drop)
            }),
            Self::Silent(time) => on_new(address, |_| {
                thread::sleep(time);
                Ok(())
            }),
            Self::Reload => server.reload().map_err(|error| error.to_string()),
        }
    }
}

/// Sends a request, and checks the status of its answer.
fn answered(address: SocketAddr, kept: &mut Option<Client>, request: &Request, statuses: &[u16]) -> Result<(), String> {
    let is_new = kept.is_none();
    let client = match kept {
        Some(client) => client,
        None => kept.insert(connect(address)?),
    };
    match client.send(request) {
        Ok(response) if statuses.contains(&response.status) => {
            if response.header("connection") == Some("close") {
                *kept = None;
            }
            Ok(())
        }
        Ok(response) => {
            *kept = None;
            Err(format!("status {}: {}", response.status, String::from_utf8_lossy(&response.body)))
        }
        // It may have been closed because nothing was sent on it for long.
        Err(_) if !is_new => {
            *kept = None;
            answered(address, kept, request, statuses)
        }
        Err(error) => {
            *kept = None;
            Err(format!("no answer: {error}"))
        }
    }
}

fn connect(address: SocketAddr) -> Result<Client, String> {
    Client::connect(address).map_err(|error| format!("no connection: {error}"))
}

/// Does something on a connection of its own. That the connection cannot be made is an error; its end is not.
fn on_new(address: SocketAddr, act: impl FnOnce(&mut Client) -> io::Result<()>) -> Result<(), String> {
    let mut client = connect(address)?;
    match act(&mut client) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(format!("it took too long: {error}"))
        }
        _ => Ok(()),
    }
}
