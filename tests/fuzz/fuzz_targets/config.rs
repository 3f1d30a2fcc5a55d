//! `scorebox_fuzz::config`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(config);
