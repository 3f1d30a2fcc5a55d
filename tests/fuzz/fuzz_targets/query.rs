//! `scorebox_fuzz::query`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(query);
