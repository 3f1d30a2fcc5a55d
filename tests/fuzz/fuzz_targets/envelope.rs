//! `scorebox_fuzz::envelope`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(envelope);
