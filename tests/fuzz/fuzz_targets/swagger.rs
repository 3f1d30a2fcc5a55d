//! `scorebox_fuzz::swagger`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(swagger);
