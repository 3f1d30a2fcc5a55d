//! Ends in each of the ways that a scorer can fail, and says a secret while it does.

use schemars::JsonSchema;
use scorebox_guest::{Deployment, Fault, Result, Scorer};
use serde::{Deserialize, Serialize};

struct Panic;

#[derive(Deserialize, JsonSchema)]
struct Input {
    end: End,
    /// The word that must not reach the client, where `end` is not `bad_input` or `unsupported_input`.
    #[serde(default)]
    secret: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum End {
    /// A result.
    Well,
    /// A panic: the log gets its message.
    Panic,
    /// An error that `?` took.
    Error,
    /// A fault that the client is told of: 400.
    BadInput,
    /// A fault that the client is told of: 415.
    UnsupportedInput,
    /// A call of itself until the stack is used up.
    Overflow,
    /// A trap without a word: `unreachable`.
    Trap,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    ended: String,
}

impl Scorer for Panic {
    type Input = Input;
    type Output = Output;

    fn init(deployment: &Deployment) -> Result<Self> {
        assert!(deployment.file("model/panic-in-init").is_err(), "the bundle has a file model/panic-in-init");
        while deployment.file("model/spin-in-init").is_ok() {
            std::hint::spin_loop();
        }
        if let Ok(message) = deployment.file("model/fail-in-init") {
            return Err(Fault::failed(String::from_utf8_lossy(message)));
        }
        Ok(Self)
    }

    fn run(&self, Input { end, secret }: Input) -> Result<Output> {
        match end {
            End::Well => Ok(Output { ended: "well".to_owned() }),
            End::Panic => panic!("the secret is {secret}"),
            End::Error => Err(std::io::Error::other(format!("the secret is {secret}")))?,
            End::BadInput => Err(Fault::bad_input(secret)),
            End::UnsupportedInput => Err(Fault::unsupported_input(secret)),
            End::Overflow => Ok(Output { ended: overflow(1).to_string() }),
            End::Trap => trap(&secret),
        }
    }
}

scorebox_guest::export!(Panic);

#[inline(never)]
#[expect(unconditional_recursion, reason = "it is to use up the stack")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    overflow(frame[0] + 1) + std::hint::black_box(frame)[15]
}

/// Uses what it is given, so that it is not joined with another function that does the same.
#[inline(never)]
fn trap(secret: &str) -> ! {
    std::hint::black_box(secret);
    #[cfg(target_family = "wasm")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_family = "wasm"))]
    std::process::abort();
}
