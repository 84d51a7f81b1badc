//! Any text in an event stream comes out again as it went in.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::sse(data));
