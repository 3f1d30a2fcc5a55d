//! `scorebox_fuzz::logging`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(logging);
