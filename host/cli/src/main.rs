//! The program `scorebox`: `serve`, `check`, `run`, `build` and `compile-runtime`.
#![forbid(unsafe_code)]

mod args;
mod build;
mod check;
mod compile_runtime;
mod config;
mod console;
mod failure;
mod python;
mod run;
mod scorer;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

/// Each request allocates on one thread and frees on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Serve(args) => serve::serve(&args),
        Command::Check(args) => check::check(&args),
        Command::Run(args) => run::run(&args),
        Command::CompileRuntime(args) => compile_runtime::compile_runtime(&args),
        Command::Build(args) => build::build(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
