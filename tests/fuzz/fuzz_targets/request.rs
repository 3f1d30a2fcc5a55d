//! `scorebox_fuzz::request`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(request);
