//! `scorebox_fuzz::command_line`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(command_line);
