//! `scorebox_fuzz::script`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(script);
