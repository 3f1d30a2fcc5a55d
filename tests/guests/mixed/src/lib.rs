//! Does harm in the way that each request asks for: what a tenant could serve who means no good.

use schemars::JsonSchema;
use scorebox_guest::logging::{self, Level, Stream};
use scorebox_guest::{Deployment, RawScorer, Request, Response, Result};
use serde::Deserialize;

struct Hostile;

#[derive(Deserialize, JsonSchema)]
struct Input {
    mode: Mode,
    /// How much of it, where there is a measure: MiB to take, records to log, KiB to answer with.
    #[serde(default)]
    amount: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Answers at once.
    Well,
    /// Computes until it is stopped.
    Spin,
    /// Takes so many MiB, uses all of them, and keeps them until its end.
    Alloc,
    /// Panics.
    Panic,
    /// A trap without a word.
    Trap,
    /// A call of itself until the stack is used up.
    Overflow,
    /// Logs so many records of 1 KiB.
    Log,
    /// Answers with so many KiB.
    Answer,
}

impl RawScorer for Hostile {
    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, request: Request) -> Result<Response> {
        let Input { mode, amount } = request.json()?;
        let mut body = vec![b'w'];
        match mode {
            Mode::Well => {}
            Mode::Spin => loop {
                std::hint::black_box(&mut body);
            },
            Mode::Alloc => {
                let taken: Vec<Vec<u8>> = (0..amount).map(|_| std::hint::black_box(vec![1; 1 << 20])).collect();
                body = taken.len().to_string().into_bytes();
            }
            Mode::Panic => panic!("as it was asked to"),
            Mode::Trap => trap(),
            Mode::Overflow => body = overflow(1).to_string().into_bytes(),
            Mode::Log => {
                let text = "l".repeat(1024);
                (0..amount).for_each(|_| logging::write(Stream::Logger, Level::Info, &text));
            }
            Mode::Answer => body = vec![b'a'; amount << 10],
        }
        Ok(Response::new("application/octet-stream", body))
    }
}

scorebox_guest::export!(Hostile);

#[inline(never)]
#[expect(unconditional_recursion, reason = "it is to use up the stack")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    overflow(frame[0] + 1) + std::hint::black_box(frame)[15]
}

fn trap() -> ! {
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}
