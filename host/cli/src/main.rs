//! The program `scorebox`: `serve`, `config`, `check`, `run`, `build` and `compile-runtime`; under its second name,
//! `azmlinfsrv`, it takes the command line of Azure ML's inference server.
#![forbid(unsafe_code)]

mod args;
mod azmlinfsrv;
mod banner;
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
mod settings;
mod show_config;
mod telemetry;
mod workers;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Args, Command};

/// Each request allocates on one thread and frees on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let is_called_so = Path::new(&name).file_stem().is_some_and(|name| name == azmlinfsrv::PROGRAM);
    let result = if is_called_so || arguments.first().is_some_and(|first| azmlinfsrv::is_option(first)) {
        match azmlinfsrv::parse(&arguments) {
            Ok(args) => serve::serve(&args),
            Err(code) => return code,
        }
    } else {
        let matches = Args::command().get_matches();
        match Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
            Command::Serve(args) => serve::serve(&args),
            Command::Config(args) => show_config::show(&args, &matches),
            Command::Check(args) => check::check(&args),
            Command::Run(args) => run::run(&args),
            Command::CompileRuntime(args) => compile_runtime::compile_runtime(&args),
            Command::Build(args) => build::build(&args),
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
