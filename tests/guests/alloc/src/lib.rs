//! Takes as much memory as it is asked to, and uses all of it.

use schemars::JsonSchema;
use scorebox_guest::{Deployment, Result, Scorer};
use serde::{Deserialize, Serialize};

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

struct Alloc;

#[derive(Deserialize, JsonSchema)]
struct Input {
    /// Memory to take, in MiB.
    mib: usize,
    /// Goes on using it for ever.
    #[serde(default)]
    keep_touching: bool,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    /// Memory taken, in MiB.
    mib: usize,
    /// The number of its pages of 4 KiB, as counted by reading each.
    pages: u64,
}

impl Scorer for Alloc {
    type Input = Input;
    type Output = Output;

    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, input: Input) -> Result<Output> {
        // One MiB at a time, so that there is no request too large for an address space.
        let mut taken: Vec<Vec<u8>> = Vec::new();
        for _ in 0..input.mib {
            let mut block = Vec::new();
            block.try_reserve_exact(MIB)?;
            block.resize(MIB, 1_u8);
            taken.push(std::hint::black_box(block));
        }
        let mut pages = 0;
        loop {
            for page in taken.iter_mut().flat_map(|block| block.chunks_mut(PAGE)) {
                pages += u64::from(page[0]);
                page[PAGE - 1] = page[PAGE - 1].wrapping_add(1);
            }
            if !std::hint::black_box(input.keep_touching) {
                return Ok(Output { mib: taken.len(), pages });
            }
        }
    }
}

scorebox_guest::export!(Alloc);
