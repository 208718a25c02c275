//! `cargo +nightly fuzz run head`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tow_fuzz::head(input));
