//! From one format into another, through the hub.

use bytes::Bytes;

use super::format::{Context, Fault, Format, Target};
use super::hub::{Answer, Delta, Gathered, Losses};
use super::{anthropic_messages, bedrock_converse, cohere, gemini, openai_chat, openai_completions, openai_responses};
use crate::kernel::cost::Usage;

/// A request in the provider's format.
#[derive(Debug)]
pub struct Request {
    pub body: Vec<u8>,
    pub losses: Losses,
}

/// Rewrites a caller's request for a provider.
///
/// # Errors
/// [`Fault`]: the caller's request is at fault in all cases.
pub fn request(from: Format, to: Format, body: &[u8], target: &Target<'_>) -> Result<Request, Fault> {
    let rewritten;
    let mut hub = match from {
        Format::Completions => {
            rewritten = openai_completions::as_chat(body)?;
            openai_chat::decode_request(&rewritten)?
        }
        Format::Chat => openai_chat::decode_request(body)?,
        Format::Messages => anthropic_messages::decode_request(body)?,
        Format::Gemini => gemini::decode_request(body)?,
        Format::Cohere => cohere::decode_request(body)?,
        Format::Converse => bedrock_converse::decode_request(body)?,
        Format::Responses => openai_responses::decode_request(body)?,
    };
    hub.stream = target.stream;
    let mut losses = Losses::default();
    let body = match to {
        Format::Chat | Format::Completions => openai_chat::encode_request(&hub, target, &mut losses)?,
        Format::Messages => anthropic_messages::encode_request(&hub, target, &mut losses)?,
        Format::Gemini => gemini::encode_request(&hub, target, &mut losses)?,
        Format::Cohere => cohere::encode_request(&hub, target, &mut losses)?,
        Format::Converse => bedrock_converse::encode_request(&hub, target, &mut losses)?,
        Format::Responses => openai_responses::encode_request(&hub, target, &mut losses)?,
    };
    Ok(Request { body, losses })
}

/// Rewrites a provider's whole answer for the caller.
///
/// # Errors
/// [`Fault::Invalid`]: the provider's answer is not what its format says.
pub fn answer(from: Format, to: Format, body: &[u8], context: &Context) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    let hub = decode_answer(from, body)?;
    Ok((encode_answer(to, &hub, context), hub.usage))
}

fn decode_answer(from: Format, body: &[u8]) -> Result<Answer<'_>, Fault> {
    match from {
        Format::Chat | Format::Completions => openai_chat::decode_answer(body),
        Format::Messages => anthropic_messages::decode_answer(body),
        Format::Gemini => gemini::decode_answer(body),
        Format::Cohere => cohere::decode_answer(body),
        Format::Converse => bedrock_converse::decode_answer(body),
        Format::Responses => openai_responses::decode_answer(body),
    }
}

/// A provider's whole answer as the stream that the caller asked for.
///
/// # Errors
/// [`Fault::Invalid`]: the provider's answer is not what its format says.
pub fn replay(from: Format, to: Format, body: &[u8], context: Context) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    let hub = decode_answer(from, body)?;
    let mut encoder = Encoder::new(to, context);
    let mut out = Vec::with_capacity(body.len() * 2);
    hub.replay(&mut |delta| encoder.delta(&delta, &mut out));
    Ok((out, hub.usage))
}

/// A whole answer as the stream that it might have been, in its own format; `None` when the answer has parts that streams
/// have no steps for.
///
/// # Errors
/// [`Fault::Invalid`]: the answer is not what its format says.
pub fn unfold(format: Format, body: &[u8], context: Context) -> Result<Option<Vec<u8>>, Fault> {
    let hub = decode_answer(format, body)?;
    if hub.choices.iter().flat_map(|choice| &choice.parts).any(|part| !part.streams()) {
        return Ok(None);
    }
    let mut encoder = Encoder::new(format, context);
    let mut out = Vec::with_capacity(body.len() * 2);
    hub.replay(&mut |delta| encoder.delta(&delta, &mut out));
    Ok(Some(out))
}

/// A complete stream, event by event, as the whole answer that it might have been, in its own format.
///
/// # Errors
/// [`Fault::Invalid`]: an event is not what its format says, or the stream is not complete.
pub fn fold<'e>(format: Format, events: impl Iterator<Item = &'e [u8]>, context: &Context) -> Result<Vec<u8>, Fault> {
    let mut decoder = Decoder::new(format);
    let mut gathered = Gathered::default();
    for event in events {
        decoder.event(event, &mut |delta| gathered.take(&delta))?;
    }
    if !gathered.is_complete() {
        return Err(Fault::invalid("", "the stream is not complete"));
    }
    Ok(encode_answer(format, &gathered.answer(), context))
}

fn encode_answer(to: Format, hub: &Answer<'_>, context: &Context) -> Vec<u8> {
    match to {
        Format::Chat => openai_chat::encode_answer(hub, context),
        Format::Messages => anthropic_messages::encode_answer(hub, context),
        Format::Gemini => gemini::encode_answer(hub, context),
        Format::Cohere => cohere::encode_answer(hub, context),
        Format::Converse => bedrock_converse::encode_answer(hub, context),
        Format::Responses => openai_responses::encode_answer(hub, context),
        Format::Completions => openai_completions::encode_answer(hub, context),
    }
}

/// Reads a provider's stream.
#[derive(Debug)]
enum Decoder {
    Chat(openai_chat::Decoder),
    Messages(anthropic_messages::Decoder),
    Gemini(gemini::Decoder),
    Cohere(cohere::Decoder),
    Converse(bedrock_converse::Decoder),
    Responses(openai_responses::Decoder),
}

impl Decoder {
    fn new(format: Format) -> Self {
        match format {
            Format::Chat | Format::Completions => Decoder::Chat(openai_chat::Decoder::default()),
            Format::Messages => Decoder::Messages(anthropic_messages::Decoder::default()),
            Format::Gemini => Decoder::Gemini(gemini::Decoder::default()),
            Format::Cohere => Decoder::Cohere(cohere::Decoder::default()),
            Format::Converse => Decoder::Converse(bedrock_converse::Decoder::default()),
            Format::Responses => Decoder::Responses(openai_responses::Decoder::default()),
        }
    }

    fn event(&mut self, event: &[u8], step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        match self {
            Decoder::Chat(decoder) => decoder.event(event, step),
            Decoder::Messages(decoder) => decoder.event(event, step),
            Decoder::Gemini(decoder) => decoder.event(event, step),
            Decoder::Cohere(decoder) => decoder.event(event, step),
            Decoder::Converse(decoder) => decoder.event(event, step),
            Decoder::Responses(decoder) => decoder.event(event, step),
        }
    }
}

/// Writes the caller's stream.
#[derive(Debug)]
enum Encoder {
    Chat(openai_chat::Encoder),
    Messages(anthropic_messages::Encoder),
    Gemini(gemini::Encoder),
    Cohere(cohere::Encoder),
    Converse(bedrock_converse::Encoder),
    Responses(Box<openai_responses::Encoder>),
    Completions(openai_completions::Encoder),
}

impl Encoder {
    fn new(format: Format, context: Context) -> Self {
        match format {
            Format::Chat => Encoder::Chat(openai_chat::Encoder::new(context)),
            Format::Messages => Encoder::Messages(anthropic_messages::Encoder::new(context)),
            Format::Gemini => Encoder::Gemini(gemini::Encoder::new(context)),
            Format::Cohere => Encoder::Cohere(cohere::Encoder::new(context)),
            Format::Converse => Encoder::Converse(bedrock_converse::Encoder::new(context)),
            Format::Responses => Encoder::Responses(Box::new(openai_responses::Encoder::new(context))),
            Format::Completions => Encoder::Completions(openai_completions::Encoder::new(context)),
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match self {
            Encoder::Chat(encoder) => encoder.delta(delta, out),
            Encoder::Messages(encoder) => encoder.delta(delta, out),
            Encoder::Gemini(encoder) => encoder.delta(delta, out),
            Encoder::Cohere(encoder) => encoder.delta(delta, out),
            Encoder::Converse(encoder) => encoder.delta(delta, out),
            Encoder::Responses(encoder) => encoder.delta(delta, out),
            Encoder::Completions(encoder) => encoder.delta(delta, out),
        }
    }
}

/// Rewrites a stream, event by event.
#[derive(Debug)]
pub struct Stream {
    decoder: Decoder,
    encoder: Encoder,
    seen: Progress,
}

/// What the stream has told so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub usage: Option<Usage>,
    /// Input tokens told before the end.
    pub early: Option<Usage>,
    /// Bytes of generated text in the last event.
    pub text: u32,
    /// Every choice that began has a finish reason.
    pub finished: bool,
    pub ended: bool,
    pub failed: bool,
}

impl Stream {
    pub fn new(from: Format, to: Format, context: Context) -> Self {
        Stream { decoder: Decoder::new(from), encoder: Encoder::new(to, context), seen: Progress::default() }
    }

    /// One event of the provider; what the caller gets is appended to `out`.
    ///
    /// # Errors
    /// [`Fault::Invalid`]: the event is not what its format says.
    pub fn event(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<&Progress, Fault> {
        let Stream { decoder, encoder, seen } = self;
        seen.text = 0;
        decoder.event(event, &mut |delta: Delta<'_>| {
            seen.note(&delta);
            encoder.delta(&delta, out);
        })?;
        Ok(&self.seen)
    }

    /// The provider has closed the stream after a finish reason but without its format's last event.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !self.seen.ended {
            self.seen.ended = true;
            self.encoder.delta(&Delta::End, out);
        }
    }

    pub fn progress(&self) -> &Progress {
        &self.seen
    }
}

impl Progress {
    /// Nothing meaningful follows.
    pub fn over(&self) -> bool {
        self.ended || self.failed
    }

    fn note(&mut self, delta: &Delta<'_>) {
        let mut text =
            |piece: &str| self.text = self.text.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        match delta {
            Delta::Start { usage, .. } => self.early = usage.or(self.early),
            Delta::Text { text: piece, .. }
            | Delta::Reasoning { text: piece, .. }
            | Delta::Refusal { text: piece, .. } => {
                text(piece);
            }
            Delta::ToolArguments { json, .. } => text(json),
            Delta::Finish { .. } => self.finished = true,
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Error { .. } => self.failed = true,
            Delta::End => self.ended = true,
            Delta::Citation { .. }
            | Delta::ReasoningSignature { .. }
            | Delta::ReasoningEncrypted { .. }
            | Delta::ToolStart { .. }
            | Delta::Logprobs { .. }
            | Delta::Ping => {}
        }
    }
}

/// What of the caller's request its answer repeats.
pub fn remembered(format: Format, body: &[u8]) -> Bytes {
    match format {
        Format::Responses => openai_responses::remembered(body),
        _ => Bytes::new(),
    }
}

#[cfg(test)]
mod tests;
