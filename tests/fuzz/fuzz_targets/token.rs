//! `scorebox_fuzz::token`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(token);
