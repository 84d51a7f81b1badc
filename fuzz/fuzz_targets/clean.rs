//! Any text of a visitor is clean after one cleaning.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::clean(data));
