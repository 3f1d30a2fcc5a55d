//! The program `scorebox`: `serve`, `config`, `check`, `run`, `build`, `doctor`, `verify-isolation` and `compile-runtime`;
//! `tenant`, `endpoint`, `deploy`, `deployment`, `traffic`, `keys`, `logs` and `state`, which manage a server;
//! under its second name, `azmlinfsrv`, it takes the command line of Azure ML's inference server.
#![forbid(unsafe_code)]

mod args;
mod azmlinfsrv;
mod banner;
mod build;
mod check;
mod compile_runtime;
mod config;
mod console;
mod doctor;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod https;
mod jwks;
mod manage;
mod manual;
mod memory;
mod python;
mod renewal;
mod run;
mod scorer;
mod second_wall;
mod serve;
mod settings;
mod show_config;
mod telemetry;
mod tenants;
mod tls;
mod verify_isolation;
mod workers;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use scorebox_sandbox::{SEALER_ARGUMENT, WORKER_ARGUMENT};

use crate::args::{Args, Command};

/// The program.
pub fn main() -> ExitCode {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let is_called_so = Path::new(&name).file_stem().is_some_and(|name| name == azmlinfsrv::PROGRAM);
    match arguments.first().map(String::as_str) {
        Some(SEALER_ARGUMENT) => return scorebox_sandbox::sealer_main(),
        Some(WORKER_ARGUMENT) => return scorebox_sandbox::worker_main(),
        _ => {}
    }
    let result = if is_called_so || arguments.first().is_some_and(|first| azmlinfsrv::is_option(first)) {
        match azmlinfsrv::parse(&arguments) {
            Ok(args) => serve::serve(&args),
            Err(code) => return code,
        }
    } else {
        let matches = manual::command().get_matches();
        match Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
            Command::Serve(args) => serve::serve(&args),
            Command::Config(args) => show_config::show(&args, &matches),
            Command::Check(args) => check::check(&args),
            Command::Run(args) => run::run(&args),
            Command::Doctor(args) => doctor::doctor(&args),
            Command::DoctorAttempt(args) => doctor::doctor_attempt(&args),
            Command::CompileRuntime(args) => compile_runtime::compile_runtime(&args),
            Command::Build(args) => build::build(&args),
            Command::Tenant(command) => manage::tenant(&command),
            Command::Endpoint(command) => manage::endpoint(&command),
            Command::Deploy(args) => manage::deploy(&args),
            Command::Apply(args) => manage::apply::apply(&args),
            Command::Deployment(command) => manage::deployment(&command),
            Command::Traffic(args) => manage::traffic(&args),
            Command::Keys(command) => manage::keys(&command),
            Command::Logs(args) => manage::logs(&args),
            Command::State(command) => manage::state(&command),
            Command::Manual(args) => manual::manual(&args),
            Command::VerifyIsolation(args) => verify_isolation::verify(&args),
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
