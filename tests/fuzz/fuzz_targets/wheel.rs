//! `scorebox_fuzz::wheel`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(wheel);
