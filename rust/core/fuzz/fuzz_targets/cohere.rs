#![no_main]
//! Requests, answers and streams of the format `Cohere`.

mod dialect;

use ailink_core::dialect::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| dialect::run(Format::Cohere, input));
