//! `scorebox_fuzz::cache`, for libFuzzer.
#![no_main]

scorebox_fuzz::fuzz_target!(cache);
