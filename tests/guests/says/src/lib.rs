//! Says in each way what it is told to, and answers with it. tests/python/languages/says.py is the same in Python.
#![forbid(unsafe_code)]

use schemars::JsonSchema;
use scorebox_guest::logging::{self, Level, Stream};
use scorebox_guest::{Deployment, Fault, Result, Scorer};
use serde::{Deserialize, Serialize};

struct Says;

#[derive(Deserialize, JsonSchema)]
struct Input {
    text: String,
    /// Fails instead of answering.
    #[serde(default)]
    fail: bool,
    /// Does not end.
    #[serde(default)]
    spin: bool,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    said: String,
}

impl Scorer for Says {
    type Input = Input;
    type Output = Output;

    fn init(_: &Deployment) -> Result<Self> {
        logging::write(Stream::Stdout, Level::Info, "printed in init()");
        log::info!(target: "azmlinfsrv.model", "logged in init()");
        Ok(Self)
    }

    fn run(&self, Input { text, fail, spin }: Input) -> Result<Output> {
        logging::write(Stream::Stdout, Level::Info, &format!("printed {text}"));
        log::info!(target: "azmlinfsrv", "logged {text}");
        log::warn!(target: "azmlinfsrv.model", "warned {text}");
        log::error!(target: "azmlinfsrv.model.deeper", "an error {text}");
        while std::hint::black_box(spin) {
            std::hint::spin_loop();
        }
        if fail {
            return Err(Fault::failed(format!("failed {text}")));
        }
        Ok(Output { said: text })
    }
}

scorebox_guest::export!(Says);
