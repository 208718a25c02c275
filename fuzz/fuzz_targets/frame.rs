//! `cargo +nightly fuzz run frame`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tow_fuzz::frame(input));
