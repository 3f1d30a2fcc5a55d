//! The program `scorebox`. All of it is in the library, where the fuzz targets find it too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Each request allocates on one thread and frees on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    scorebox::main()
}
