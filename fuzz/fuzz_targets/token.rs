//! Session tokens and tickets, and claims that are signed but odd.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::token(data));
