//! `scorebox_fuzz::values`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(values);
