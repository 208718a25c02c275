//! `cargo +nightly fuzz run pack`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tow_fuzz::pack(input));
