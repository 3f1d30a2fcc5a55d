//! SPECIFICATION.md is enforced: each promise names tests, and they are there; each setting is one that the program has.
//!
//! `promises.rs` reads the document and `sources.rs` the tests, from the sources that Cargo builds them from.

mod promises;
mod sources;

use std::collections::BTreeMap;
use std::fs;

use scorebox_tests::fixtures::workspace;
use scorebox_tests::process;

use crate::promises::{Flags, Promise};
use crate::sources::Tests;

/// The projects whose tests `make test` runs.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "guest-sdk/python/glue/Cargo.toml"];

#[test]
fn every_promise_names_tests_that_are_there() {
    let promises = specification();
    let tests = Tests::of(&MANIFESTS.map(|manifest| workspace().join(manifest)));
    let wrong: Vec<_> = promises.iter().flat_map(|promise| promise.wrong_tests(&tests)).collect();
    assert!(wrong.is_empty(), "SPECIFICATION.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_setting_is_one_that_the_program_has_with_that_default() {
    let flags = flags();
    let wrong: Vec<_> = specification().iter().flat_map(|promise| promise.wrong_flags(&flags)).collect();
    assert!(wrong.is_empty(), "SPECIFICATION.md:\n{}", wrong.join("\n"));
}

/// The promises of SPECIFICATION.md.
fn specification() -> Vec<Promise> {
    let text = fs::read_to_string(workspace().join("SPECIFICATION.md")).expect("it is there");
    promises::read(&text).unwrap_or_else(|wrong| panic!("SPECIFICATION.md:\n{}", wrong.join("\n")))
}

/// What each command of the program says about its settings.
fn flags() -> BTreeMap<String, Flags> {
    let help = process::run(["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:").expect("the help lists the commands");
    let commands = commands.lines().skip(1).map_while(|line| line.split_whitespace().next());
    commands
        .filter(|command| *command != "help")
        .map(|command| (command.to_owned(), Flags::of_help(&process::run([command, "--help"]).stdout)))
        .collect()
}
