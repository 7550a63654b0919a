//! Documents that a request brings along: the texts of PDFs are read outside of this process, and looked at like others.
//!
//! What is found in one cannot be cut out of it, so a rule that changes texts refuses it.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::judge;
use super::output::{refusal, unlookable};
use super::unseen::{self, Unscannable};
use super::walk;
use crate::approval::wire::Blob;
use crate::error::Result;
use crate::exchange::Exchange;
use crate::shell::ask::ask;

/// A document begins within so many bytes.
const HEAD: usize = 1_024;
const MAGIC: &[u8] = b"%PDF-";
/// Shorter texts hold none.
pub const SHORTEST: usize = 256;
/// Most documents of a request, and the longest.
const MOST: usize = 16;
const LONGEST: usize = 32 * 1024 * 1024;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The documents of a request.
#[derive(Default)]
pub struct Documents {
    parts: Vec<Part>,
    /// Which sets of rules have to look at which, and whether there is nothing else to look at.
    wanted: Vec<Wanted>,
}

struct Part {
    /// As it stands in the request: base64 in a JSON string.
    data: Bytes,
    place: String,
    read: Option<Read>,
}

struct Wanted {
    plan: u32,
    part: usize,
    alone: bool,
    judged: bool,
}

#[derive(Serialize)]
struct Question {
    data: Blob,
}

/// What the reader says.
#[derive(Clone, Default, Deserialize)]
struct Read {
    text: String,
    /// Some page shows no text.
    blind: bool,
    why: String,
}

impl Documents {
    /// Adds one that rules have to look at; `alone`: without it, nothing could be looked at.
    pub fn add(&mut self, plan: u32, data: Bytes, place: String, alone: bool) {
        let known = self.parts.iter().position(|part| part.data == data);
        let part = known.unwrap_or_else(|| {
            self.parts.push(Part { data, place, read: None });
            self.parts.len() - 1
        });
        if !self.wanted.iter().any(|wanted| wanted.plan == plan && wanted.part == part) {
            self.wanted.push(Wanted { plan, part, alone, judged: false });
        }
    }

    pub fn waits(&self) -> bool {
        self.wanted.iter().any(|wanted| !wanted.judged)
    }
}

/// Whether a value, as it stands in JSON, is a PDF in base64.
pub fn is_pdf(value: &[u8]) -> bool {
    if value.len() < SHORTEST {
        return false;
    }
    let value = payload(value);
    let head = value.get(..value.len().min(HEAD.div_ceil(3) * 4)).unwrap_or_default();
    // Most texts are none: words are told apart by their first bytes.
    if !head.iter().take(16).all(|byte| byte.is_ascii_alphanumeric() || b"+/=\\-_".contains(byte)) {
        return false;
    }
    let clean: Vec<u8> = plain(head);
    let whole = clean.get(..clean.len() / 4 * 4).unwrap_or_default();
    LENIENT.decode(whole).is_ok_and(|bytes| memchr::memmem::find(&bytes, MAGIC).is_some())
}

/// The base64 of a value that may be a `data:` address.
fn payload(value: &[u8]) -> &[u8] {
    match value
        .strip_prefix(b"data:")
        .and_then(|rest| Some((rest, memchr::memchr(b',', rest.get(..HEAD.min(rest.len()))?)?)))
    {
        Some((rest, comma)) => rest.get(comma + 1..).unwrap_or_default(),
        None => value,
    }
}

/// Base64 in the one alphabet, without escapes and padding.
fn plain(value: &[u8]) -> Vec<u8> {
    let mut decoded = String::new();
    walk::decode(value, &mut decoded);
    let same = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    };
    decoded.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=').map(same).collect()
}

/// Reads the documents, and looks at them.
///
/// # Errors
/// The refusal of a rule that blocks, or cannot look.
pub async fn wait(exchange: &mut Exchange) -> Result<()> {
    let Some(checks) = &mut exchange.checks else { return Ok(()) };
    let mut documents = std::mem::take(&mut checks.documents);
    let started = std::time::Instant::now();
    let read = read(exchange, &mut documents).await;
    exchange.waited += started.elapsed();
    let judged = read.and_then(|()| judged(exchange, &mut documents));
    exchange.checks.get_or_insert_default().documents = documents;
    judged
}

async fn read(exchange: &Exchange, documents: &mut Documents) -> Result<()> {
    if documents.parts.len() > MOST {
        return Err(unlookable("a request brings more than 16 documents"));
    }
    let insists = |part: usize| {
        documents.wanted.iter().filter(|wanted| wanted.part == part).any(|wanted| {
            let plan = exchange.snapshot.plans.get(wanted.plan as usize);
            plan.and_then(|plan| plan.input.as_ref()).is_some_and(|side| side.fails_closed)
        })
    };
    let insisting: Vec<bool> = (0..documents.parts.len()).map(insists).collect();
    for (part, insists) in documents.parts.iter_mut().zip(insisting) {
        if part.read.is_some() {
            continue;
        }
        let data = LENIENT.decode(plain(payload(&part.data))).unwrap_or_default();
        if data.is_empty() || data.len() > LONGEST {
            part.read = Some(Read { why: "it is no base64, or longer than 32 MiB".to_string(), ..Read::default() });
            continue;
        }
        match ask::<Read>(&exchange.shard, "documents/read", &Question { data: Blob(data.into()) }).await {
            Ok(read) => part.read = Some(read),
            Err(why) => {
                tracing::warn!(why, "a document cannot be read");
                if insists {
                    return Err(unlookable("a document could not be read; the gateway's log says why"));
                }
                part.read = Some(Read::default());
            }
        }
    }
    Ok(())
}

fn judged(exchange: &mut Exchange, documents: &mut Documents) -> Result<()> {
    let held = exchange.snapshot.clone();
    for wanted in documents.wanted.iter_mut().filter(|wanted| !wanted.judged) {
        wanted.judged = true;
        let Some(plan) = held.plans.get(wanted.plan as usize) else { continue };
        let Some(part) = documents.parts.get(wanted.part) else { continue };
        let read = part.read.clone().unwrap_or_default();
        if read.text.trim().is_empty() || read.blind {
            let all = read.text.trim().is_empty();
            if plan.unscannable[0] == Unscannable::Block || all && wanted.alone {
                let why = if read.why.is_empty() { "some of its pages have no text" } else { read.why.as_str() };
                return Err(unseen::document(why, &part.place));
            }
        }
        let (Some(side), Ok(quoted)) = (&plan.input, serde_json::to_vec(&read.text)) else { continue };
        let Ok(mut judged) = judge(side, &quoted, false) else { continue };
        for finding in &mut judged.findings {
            finding.place.clone_from(&part.place);
        }
        exchange.tell_findings(&judged.findings, "input");
        if judged.failed && side.fails_closed {
            return Err(unlookable("the search was given up"));
        }
        if let Some(finding) = judged.findings.iter().find(|finding| finding.rule.effect().alters()) {
            exchange.goes_on(finding.rule.then);
            return Err(refusal(finding, "input", plan.block_status));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn documents_are_known_by_their_beginning() {
        let document = [b"junk\n%PDF-1.7 ".as_slice(), &[7; 400]].concat();
        let image = [b"\x89PNG".as_slice(), &[7; 400]].concat();
        let base64 = STANDARD.encode(&document);
        for value in [
            base64.clone(),
            URL_SAFE_NO_PAD.encode(&document),
            base64.replace('/', "\\/"),
            format!("data:application/pdf;base64,{base64}"),
            format!("data:image/png;base64,{base64}"),
        ] {
            assert!(is_pdf(value.as_bytes()), "{value}");
        }
        for value in [STANDARD.encode(&image), "some words ".repeat(40), String::new(), "A".repeat(5_000)] {
            assert!(!is_pdf(value.as_bytes()), "{value}");
        }
        let decoded = LENIENT.decode(plain(payload(format!("data:x;base64,{base64}").as_bytes()))).expect("base64");
        assert_eq!(decoded, document);
    }

    #[test]
    fn each_is_read_once_and_looked_at_by_all() {
        let mut documents = Documents::default();
        for plan in [1, 2, 1] {
            documents.add(plan, Bytes::from_static(b"abc"), "messages[0]".to_string(), false);
        }
        assert_eq!((documents.parts.len(), documents.wanted.len()), (1, 2));
        assert!(documents.waits());
    }
}
