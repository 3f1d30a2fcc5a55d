//! `scorebox_fuzz::archive`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(archive);
