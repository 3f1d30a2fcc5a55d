//! Does with WASI 0.2 what nobody should: holds more than there is, waits for ever, measures time. The body says what.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use scorebox_guest::logging::{self, Level, Stream};
use scorebox_guest::{Deployment, Fault, RawScorer, Request, Response, Result};
use serde_json::json;
use wasip2::cli::{exit, stdin, stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasip2::io::poll::poll;
use wasip2::io::streams::OutputStream;
use wasip2::random::random;

/// Bytes of a piece of the endless line.
const PIECE: usize = 4096;
/// Bytes of that line.
const LINE: usize = 1 << 30;
/// Bytes of a message that is too long.
const MESSAGE: usize = 50 << 20;
/// Steps of a clock to see.
const STEPS: usize = 50;
const FOR_EVER: u64 = u64::MAX;

/// Requests that this instance has served.
static SERVED: AtomicU64 = AtomicU64::new(0);

struct Hostile;

impl RawScorer for Hostile {
    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, request: Request) -> Result<Response> {
        let body = String::from_utf8(request.body)?;
        match &*body {
            "count" => return Ok(text((SERVED.fetch_add(1, Ordering::Relaxed) + 1).to_string())),
            "clocks" => return Response::json(&clocks()),
            "pollables" => hold(|| monotonic_clock::subscribe_duration(FOR_EVER)),
            "streams" => hold(stdout::get_stdout),
            "1000 streams" => drop(black_box(streams(1000))),
            "1100 streams" => drop(black_box(streams(1100))),
            "directories" => hold(get_directories),
            "files" => {
                let (model, _) = get_directories().into_iter().next().ok_or_else(|| Fault::failed("no files"))?;
                hold(|| {
                    let file =
                        model.open_at(PathFlags::empty(), "weights.json", OpenFlags::empty(), DescriptorFlags::READ);
                    file.expect("the file can be opened")
                });
            }
            "wait" => monotonic_clock::subscribe_duration(FOR_EVER).block(),
            "poll" => {
                let ready: Vec<_> = (0..500).map(|_| monotonic_clock::subscribe_duration(0)).collect();
                let ready: Vec<_> = ready.iter().collect();
                loop {
                    black_box(poll(&ready));
                }
            }
            "randomness" => loop {
                black_box(random::get_random_bytes(1 << 20));
            },
            "too much randomness" => drop(black_box(random::get_random_bytes(1 << 30))),
            "line" => {
                let output = stdout::get_stdout();
                for _ in 0..LINE / PIECE {
                    output.blocking_write_and_flush(&[b'x'; PIECE])?;
                }
            }
            "records" => loop {
                logging::write(Stream::Logger, Level::Info, "x");
            },
            "too many zeroes" => stdout::get_stdout().write_zeroes(1 << 40)?,
            "input" => drop(stdin::get_stdin().blocking_read(1 << 40)),
            "exit" => exit::exit(Ok(())),
            "panic" => panic!("{}", "p".repeat(MESSAGE)),
            "fault" => return Err(Fault::failed("f\n".repeat(MESSAGE / 2))),
            _ => {}
        }
        Ok(text("ok".to_owned()))
    }
}

scorebox_guest::export!(Hostile);

fn text(text: String) -> Response {
    Response::new("text/plain", text)
}

/// So many handles at the same time.
fn streams(number: usize) -> Vec<OutputStream> {
    (0..number).map(|_| stdout::get_stdout()).collect()
}

/// Takes one more of something for ever, and gives nothing back.
fn hold<T>(mut take: impl FnMut() -> T) {
    loop {
        std::mem::forget(take());
    }
}

/// What the clocks say of themselves, and the smallest step that is seen between two readings, in nanoseconds.
fn clocks() -> serde_json::Value {
    let smallest = |now: &dyn Fn() -> u64| {
        let mut last = now();
        let mut steps = Vec::new();
        while steps.len() < STEPS {
            let next = now();
            if next > last {
                steps.push(next - last);
            }
            last = next;
        }
        json!({ "smallest": steps.iter().min(), "different": steps.len() })
    };
    let wall = || {
        let now = wall_clock::now();
        now.seconds * 1_000_000_000 + u64::from(now.nanoseconds)
    };
    json!({
        "monotonic": { "resolution": monotonic_clock::resolution(), "steps": smallest(&monotonic_clock::now) },
        "wall": { "resolution": wall_clock::resolution().nanoseconds, "steps": smallest(&wall) },
    })
}
