//! Runs for ever when asked to, else returns at once.

use schemars::JsonSchema;
use scorebox_guest::{Deployment, Result, Scorer};
use serde::{Deserialize, Serialize};

struct Spin;

#[derive(Deserialize, JsonSchema)]
struct Input {
    spin: bool,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    spun: bool,
}

impl Scorer for Spin {
    type Input = Input;
    type Output = Output;

    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, input: Input) -> Result<Output> {
        while std::hint::black_box(input.spin) {
            std::hint::spin_loop();
        }
        Ok(Output { spun: false })
    }
}

scorebox_guest::export!(Spin);
