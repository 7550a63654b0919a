#![no_main]
//! Whatever a Converse client or Bedrock sends is understood or refused: request, answer and frames.

use ailink_core::dialect::translate::{self, Stream};
use ailink_core::dialect::{Context, Format, Target};
use ailink_core::wire::eventstream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, kind) = input;
    let target = Target { model: "anthropic.claude", stream: false, ask_usage: false, max_output: None };
    for other in Format::ALL {
        let _ = translate::request(Format::Converse, other, bytes, &target);
        let _ = translate::request(other, Format::Converse, bytes, &target);
        let _ = translate::answer(Format::Converse, other, bytes, &Context::default());
        let mut stream = Stream::new(Format::Converse, other, Context::default());
        let mut out = Vec::new();
        let _ = stream.event(bytes, &mut out);
        // A sound frame around anything.
        let mut frame = Vec::new();
        eventstream::write(&mut frame, &[(":event-type", kind), (":message-type", "event")], |out| {
            out.extend_from_slice(bytes);
        });
        let _ = stream.event(&frame, &mut out);
    }
});
