//! What a large body costs the host: from the pieces in which it comes to the request that a scorer gets, beside a copy of
//! as many bytes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::body::Frame;
use scorebox_sandbox::{Sandbox, SandboxConfig};
use scorebox_server::input::InputMode;
use scorebox_server::{App, Settings};
use scorebox_telemetry::Telemetry;
use tokio::runtime::Runtime;

// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MODES: [(&str, InputMode); 3] = [("plain", InputMode::Plain), ("json", InputMode::Json), ("raw", InputMode::Raw)];

/// What is in a body, again and again.
const CONTENTS: [(&str, &str); 2] = [("numbers", "5.1, 3.5, 1.4, 0.2, "), ("texts", r#""größe 模型", "#)];

/// Times that each mode and the copy are measured in turns.
const ROUNDS: usize = 2000;

/// Length of a body.
const BYTES: usize = 1024 * 1024;
/// Length of the pieces in which it comes: what is read of a socket at once.
const PIECE: usize = 128 * 1024;

/// A JSON object of so many bytes, with this in it again and again.
fn json(item: &str) -> Bytes {
    let (begin, end) = (r#"{"data": ["#, "0]}");
    let mut text = begin.to_owned();
    while text.len() + item.len() + end.len() <= BYTES {
        text.push_str(item);
    }
    text.push_str(&" ".repeat(BYTES - text.len() - end.len()));
    text.push_str(end);
    text.into()
}

/// A body in pieces that are there.
struct Pieces(VecDeque<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn request(body: &Bytes) -> http::Request<Body> {
    let pieces = (0..body.len()).step_by(PIECE).map(|at| body.slice(at..body.len().min(at + PIECE)));
    http::Request::post("/score")
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len())
        .body(Body::new(Pieces(pieces.collect())))
        .expect("a request")
}

/// What is measured: a copy of the body, and the way of a request with it in each mode.
struct Subject {
    app: Arc<App>,
    runtime: Runtime,
    body: Bytes,
}

impl Subject {
    fn new(item: &str) -> Self {
        let sandbox = Sandbox::new(&SandboxConfig::default(), None).expect("a sandbox");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let body = json(item);
        assert_eq!(body.len(), BYTES);
        Self { app: App::new(sandbox.into(), Settings::default(), Telemetry::off()), runtime, body }
    }

    fn copy(&self) -> Vec<u8> {
        black_box(&self.body).to_vec()
    }

    fn receive(&self, mode: InputMode) -> Vec<u8> {
        let request = self.app.scorers_request(mode, request(&self.body));
        let body = self.runtime.block_on(request).expect("it is taken").body;
        assert_eq!(body.len(), BYTES);
        body
    }
}

fn large_body(c: &mut Criterion) {
    for (content, item) in CONTENTS {
        let subject = Subject::new(item);
        let mut group = c.benchmark_group("large_body");
        group.throughput(Throughput::Bytes(BYTES as u64));
        group.bench_function(BenchmarkId::new("copy", content), |bencher| bencher.iter(|| subject.copy()));
        for (name, mode) in MODES {
            group.bench_function(BenchmarkId::new(name, content), |bencher| bencher.iter(|| subject.receive(mode)));
        }
        group.finish();
        ratios(content, &subject);
    }
}

/// Prints what each mode takes of the time for a copy. They take turns, so that other work on the machine hits all alike.
#[expect(clippy::print_stdout, reason = "a benchmark says what it found")]
fn ratios(content: &str, subject: &Subject) {
    fn took<T>(work: impl FnOnce() -> T) -> Duration {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        drop(black_box(result));
        took
    }
    let (mut copies, mut modes) = (Vec::new(), [const { Vec::new() }; MODES.len()]);
    for _ in 0..ROUNDS {
        copies.push(took(|| subject.copy()));
        for ((_, mode), times) in MODES.iter().zip(&mut modes) {
            times.push(took(|| subject.receive(*mode)));
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let copy = median(&mut copies);
    for ((name, _), times) in MODES.iter().zip(&mut modes) {
        println!("large_body/{name}/{content} takes {:.2} of a copy", median(times) / copy);
    }
}

criterion_group!(benches, large_body);
criterion_main!(benches);
