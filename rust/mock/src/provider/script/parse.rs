//! Reading a script's text.

use super::{BodyKind, Cut, CutAt, CutKind, Newline, Script, Split, StatedLength, UsageMode};
use crate::Error;
use crate::provider::delay::Delay;

impl Script {
    /// A script from its text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut script = Self::default();
        script.apply(text)?;
        Ok(script)
    }

    /// Overrides what `text` names. An unknown key or a wrong value is an error, so that a typo in a test is not
    /// taken for a passing one.
    pub fn apply(&mut self, text: &str) -> Result<(), Error> {
        for pair in text.split([';', '&']).map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "1"));
            let value = percent_decode(value.trim());
            self.set(key.trim(), &value).map_err(|why| Error::Script(format!("{}: {why}", key.trim())))?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "latency" => self.latency = Some(Delay::parse(value)?),
            "slots" => self.slots = Some(number(value)?),
            "ttft" => self.ttft = Some(Delay::parse(value)?),
            "gap" => self.gap = Some(Delay::parse(value)?),
            "events" => self.events = Some(number(value)?),
            "bytes" => self.bytes = Some(number(value)?),
            "text" => self.text = Some(value.to_owned()),
            "echo" => self.echo = flag(value)?,
            "think" => self.think = Some(value.to_owned()),
            "calls" => self.calls = number(value)?,
            "cite" => self.cite = Some(value.to_owned()),
            "usage" => self.set_usage(value)?,
            "cached" => self.tokens.cached = number(value)?,
            "cache_write" => self.tokens.cache_write = number(value)?,
            "reasoning" => self.tokens.reasoning = number(value)?,
            "finish" => self.finish = Some(value.to_owned()),
            "model" => self.model = Some(value.to_owned()),
            "tool" => self.tool = Some(flag(value)?),
            "header" => self.headers.push(header(value)?),
            "stamp" => self.stamp = flag(value)?,
            "done" => self.done = flag(value)?,
            _ => return self.set_fault(key, value),
        }
        Ok(())
    }

    fn set_fault(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "status" => self.status = Some(status(value)?),
            "retry_after" => self.retry_after = Some(value.to_owned()),
            "error_type" => self.error_type = Some(value.to_owned()),
            "error_code" => self.error_code = Some(value.to_owned()),
            "error_message" => self.error_message = Some(value.to_owned()),
            "fail_first" => self.fail_first = Some(number(value)?),
            "id" => self.id = value.to_owned(),
            "drop" => self.cut = Some(Cut { kind: cut_kind(value)?, at: CutAt::Head }),
            "body" => self.body = body_kind(value)?,
            "content_length" => self.content_length = Some(stated_length(value)?),
            "slow_head" => self.slow_head = Some(crate::duration::parse(value).ok_or("no duration")?),
            "error_at_event" => self.error_at_event = Some(number(value)?),
            "garbage_at_event" => self.garbage_at_event = Some(number(value)?),
            _ => return self.set_wire(key, value),
        }
        Ok(())
    }

    fn set_wire(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "split" => self.split = split(value)?,
            "split_gap" => self.split_gap = Some(crate::duration::parse(value).ok_or("no duration")?),
            "gzip" => self.gzip = flag(value)?,
            "chunked" => self.chunked = flag(value)?,
            "close" => self.close = flag(value)?,
            "idle_close" => self.idle_close = Some(crate::duration::parse(value).ok_or("no duration")?),
            "hangup_next" => self.hangup_next = flag(value)?,
            "newline" => self.newline = newline(value)?,
            "bom" => self.bom = flag(value)?,
            "comments" => self.comments = flag(value)?,
            _ => {
                let (kind, unit) = key.split_once("_at_").ok_or("unknown key")?;
                let kind = cut_kind(kind).map_err(|_| "unknown key")?;
                let at = match unit {
                    "byte" => CutAt::Byte(number(value)?),
                    "event" => CutAt::Event(number(value)?),
                    _ => return Err("unknown key".to_owned()),
                };
                self.cut = Some(Cut { kind, at });
            }
        }
        Ok(())
    }

    /// `normal`, `none`, `always` or `INPUT:OUTPUT`; numbers leave the mode as it is.
    fn set_usage(&mut self, value: &str) -> Result<(), String> {
        match value {
            "normal" => self.usage = UsageMode::Normal,
            "none" => self.usage = UsageMode::None,
            "always" => self.usage = UsageMode::Always,
            _ => {
                let (input, output) = value.split_once(':').ok_or("normal, none, always or INPUT:OUTPUT")?;
                self.tokens.input = Some(number(input)?);
                self.tokens.output = Some(number(output)?);
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("'{value}' is no number"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(format!("'{value}' is neither 1 nor 0")),
    }
}

fn status(value: &str) -> Result<u16, String> {
    number(value).and_then(
        |status| {
            if (200..600).contains(&status) { Ok(status) } else { Err("200 to 599".to_owned()) }
        },
    )
}

fn header(value: &str) -> Result<(String, String), String> {
    let (name, value) = value.split_once(':').ok_or("NAME:VALUE")?;
    hyper::header::HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    hyper::header::HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn cut_kind(value: &str) -> Result<CutKind, String> {
    match value {
        "reset" => Ok(CutKind::Reset),
        "close" => Ok(CutKind::Close),
        "stall" => Ok(CutKind::Stall),
        _ => Err("reset, close or stall".to_owned()),
    }
}

fn body_kind(value: &str) -> Result<BodyKind, String> {
    match value {
        "proper" => Ok(BodyKind::Proper),
        "garbage" => Ok(BodyKind::Garbage),
        "truncated" => Ok(BodyKind::Truncated),
        "empty" => Ok(BodyKind::Empty),
        "html" => Ok(BodyKind::Html),
        "bomb" => Ok(BodyKind::Bomb),
        _ => Err("proper, garbage, truncated, empty, html or bomb".to_owned()),
    }
}

/// `+5` and `-5` are relative to the true length, `5` is absolute.
fn stated_length(value: &str) -> Result<StatedLength, String> {
    if value.starts_with(['+', '-']) {
        number(value).map(StatedLength::Off)
    } else {
        number(value).map(StatedLength::Exactly)
    }
}

/// One number: the size of every write; a list: the offsets at which writes end.
fn split(value: &str) -> Result<Split, String> {
    if !value.contains(',') {
        let size = number(value)?;
        return Ok(if size == 0 { Split::Whole } else { Split::Every(size) });
    }
    let mut offsets = value.split(',').map(|offset| number(offset.trim())).collect::<Result<Vec<u64>, _>>()?;
    offsets.sort_unstable();
    offsets.dedup();
    Ok(Split::At(offsets))
}

fn newline(value: &str) -> Result<Newline, String> {
    match value.to_ascii_lowercase().as_str() {
        "lf" => Ok(Newline::Lf),
        "crlf" => Ok(Newline::CrLf),
        "cr" => Ok(Newline::Cr),
        _ => Err("lf, crlf or cr".to_owned()),
    }
}

/// Decodes `%XX`; what is no escape stays as it is, bytes that are no UTF-8 are replaced.
pub fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.first_chunk::<2>()).flatten();
        match escaped.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reads_what_the_readme_shows() {
        let script = Script::parse("status=429;retry_after=2; latency=20ms ;reset_at_byte=100;split=1,5,9").unwrap();
        assert_eq!(script.status, Some(429));
        assert_eq!(script.retry_after.as_deref(), Some("2"));
        assert_eq!(script.latency, Some(Delay::Fixed(Duration::from_millis(20))));
        assert_eq!(script.cut, Some(Cut { kind: CutKind::Reset, at: CutAt::Byte(100) }));
        assert_eq!(script.split, Split::At(vec![1, 5, 9]));
        assert!(script.breaks_the_wire() && script.fails());
    }

    #[test]
    fn both_separators_flags_and_escapes() {
        let script = Script::parse("stamp&done=0&text=a%3Bb%26c%2&usage=10:5&usage=always&newline=CRLF").unwrap();
        assert!(script.stamp && !script.done);
        assert_eq!(script.text.as_deref(), Some("a;b&c%2"));
        assert_eq!((script.tokens.input, script.tokens.output, script.usage), (Some(10), Some(5), UsageMode::Always));
        assert_eq!(script.newline, Newline::CrLf);
        assert!(!script.fails());
    }

    #[test]
    fn later_carriers_override() {
        let mut script = Script::parse("events=3;gap=5;status=500").unwrap();
        script.apply("gap=0;drop=close").unwrap();
        assert_eq!(script.gap, Some(Delay::Fixed(Duration::ZERO)));
        assert_eq!((script.events, script.status), (Some(3), Some(500)));
        script.heal();
        assert!(!script.fails());
    }

    #[test]
    fn refuses_typos() {
        for wrong in ["statsu=1", "status=42", "events=x", "reset_at_line=1", "melt_at_byte=1", "usage=7", "done=maybe"]
        {
            assert!(Script::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Script::parse(" ; & ").unwrap(), Script::default());
    }

    #[test]
    fn content_length_is_relative_with_a_sign() {
        let length = |text: &str| Script::parse(text).unwrap().content_length;
        assert_eq!(length("content_length=+3"), Some(StatedLength::Off(3)));
        assert_eq!(length("content_length=-3"), Some(StatedLength::Off(-3)));
        assert_eq!(length("content_length=3"), Some(StatedLength::Exactly(3)));
    }
}
