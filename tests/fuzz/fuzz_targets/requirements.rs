//! `scorebox_fuzz::requirements`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(requirements);
