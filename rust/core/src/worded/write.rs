//! Writes a request: the line, the type of its body, the body.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::given::{Given, given, invalid, text};
use super::{Field, Place, Shape, Worded};
use crate::dialect::family::form::{UNSAID, kind_of};
use crate::error::{Code, Error, Result};
use crate::snapshot::escaped;
use crate::wire::multipart::{self, Part};

/// What a caller asks for, and whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub provider: &'a str,
    /// The provider's name of the model.
    pub model: &'a str,
    /// `POST /path`, with names in braces for what the path says of each request.
    pub line: &'a [u8],
    pub body: &'a Bytes,
    pub boundary: Option<&'a str>,
    pub content_type: Option<&'a HeaderValue>,
}

/// What is sent besides the body.
#[derive(Clone, Debug)]
pub struct Sent {
    pub line: Bytes,
    pub content_type: HeaderValue,
}

#[derive(Debug)]
pub struct Written {
    pub sent: Sent,
    pub body: SmallVec<[Bytes; 5]>,
    /// Parameters that did not go as they were sent.
    pub dropped: SmallVec<[Box<str>; 2]>,
}

const FILE: &str = "file";
const LONGEST_SEGMENT: usize = 256;
const MOST_TOLD: usize = 16;

struct Pass<'a> {
    worded: &'a Worded,
    asked: &'a Asked<'a>,
    given: Vec<Given>,
    path: Vec<(&'a str, String)>,
    query: Vec<(String, String)>,
    /// Members of a JSON body, or fields of a form.
    body: Map<String, Value>,
    dropped: SmallVec<[Box<str>; 2]>,
}

impl Worded {
    /// # Errors
    /// 400 for what the provider has no word for, for what is missing, and for what cannot be read.
    pub fn write(&self, asked: &Asked<'_>) -> Result<Written> {
        let parts = match asked.boundary {
            Some(boundary) => {
                multipart::parts(asked.body, boundary).map_err(|error| invalid("", &error.to_string()))?
            }
            None => Vec::new(),
        };
        let file = parts.iter().find(|part| part.filename.is_some() && part.name == FILE);
        if self.body != Shape::Json && file.is_none() {
            return Err(missing(asked, FILE));
        }
        let mut pass = Pass {
            worded: self,
            asked,
            given: given(asked, &parts)?,
            path: Vec::new(),
            query: Vec::new(),
            body: Map::new(),
            dropped: SmallVec::new(),
        };
        let others = parts.iter().filter(|part| part.filename.is_some() && part.name != FILE);
        pass.dropped.extend(others.map(|part| part.name.as_str()).filter(|name| is_plain(name)).map(Box::from));
        for field in &self.fields {
            pass.field(field)?;
        }
        if let Some(reading) = &self.reading {
            pass.format(reading.formats())?;
        }
        pass.rest()?;
        let line = pass.line()?;
        let (content_type, body) = self.body(&pass, file)?;
        pass.dropped.truncate(MOST_TOLD);
        Ok(Written { sent: Sent { line, content_type }, body, dropped: pass.dropped })
    }

    fn body(&self, pass: &Pass<'_>, file: Option<&Part>) -> Result<(HeaderValue, SmallVec<[Bytes; 5]>)> {
        let json = HeaderValue::from_static("application/json");
        let (Some(file), Some(boundary)) = (file, pass.asked.boundary) else {
            let written = serde_json::to_vec(&pass.body).map_err(|error| invalid("", &error.to_string()))?;
            return Ok((json, SmallVec::from_iter([Bytes::from(written)])));
        };
        let content = pass.asked.body.slice(file.content.clone());
        if self.body == Shape::File {
            return Ok((sound(file, &content), SmallVec::from_iter([content])));
        }
        let mut head = Vec::new();
        for (name, value) in &pass.body {
            for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                let opening = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                head.extend_from_slice(opening.as_bytes());
                head.extend_from_slice(text(name, value)?.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
        }
        // The name of the file may hold anything; its ending is what providers look at.
        let named: String = file.filename.iter().flat_map(|name| name.chars()).filter(|c| is_fit(*c)).collect();
        let named = if named.is_empty() { FILE.to_string() } else { named };
        let kind = sound(file, &content);
        let kind = kind.to_str().unwrap_or(UNSAID);
        head.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{named}\"\r\n\
                 Content-Type: {kind}\r\n\r\n"
            )
            .as_bytes(),
        );
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let content_type = pass.asked.content_type.cloned().unwrap_or(json);
        Ok((content_type, SmallVec::from_iter([Bytes::from(head), content, tail])))
    }
}

impl<'a> Pass<'a> {
    fn field(&mut self, field: &'a Field) -> Result<()> {
        let name = &*field.name;
        let value = if name == "model" { Some(Value::from(self.asked.model)) } else { self.take(name)? };
        let Some(value) = value else {
            if field.require {
                return Err(missing(self.asked, name));
            }
            return field.default.as_ref().map_or(Ok(()), |default| self.put_word(field, default));
        };
        if let Some(instead) = &field.reject {
            let nothing = value == Value::Bool(false) || value.as_str().is_some_and(|text| text.trim() == "false");
            return if nothing { Ok(()) } else { Err(self.unsupported(name, instead)) };
        }
        if field.drop {
            self.drop(name);
            return Ok(());
        }
        if field.min.is_some() || field.max.is_some() {
            return self.put_bounded(field, &value);
        }
        match self.word(&value) {
            Some(word) if field.reads_words() => self.put_word(field, &word),
            _ => self.put(field, value),
        }
    }

    /// A parameter by its name, that is there once and not null.
    fn take(&mut self, name: &str) -> Result<Option<Value>> {
        let mut named = self.given.iter_mut().filter(|given| given.name == name);
        let Some(first) = named.next() else { return Ok(None) };
        first.used = true;
        let value = first.value.clone();
        if named.next().is_some() {
            return Err(invalid(name, "it is there several times"));
        }
        Ok(Some(value).filter(|value| !value.is_null()))
    }

    /// A value as a word. A voice of one's own is an object with its id.
    fn word(&self, value: &Value) -> Option<String> {
        match value {
            Value::Object(object) => object.get("id")?.as_str().map(String::from),
            Value::String(text) => Some(text.trim().to_string()),
            _ => None,
        }
    }

    fn put_word(&mut self, field: &'a Field, word: &str) -> Result<()> {
        let Some((_, told)) = field.words.iter().find(|(known, _)| **known == *word) else {
            // The provider's whole name says as well what stands around it.
            let inner = field
                .around
                .as_ref()
                .and_then(|(before, behind)| word.strip_prefix(&**before)?.strip_suffix(&**behind));
            let word = inner.unwrap_or(word);
            if field.only || field.like.as_ref().is_some_and(|like| !like.is_match(word)) {
                let known: Vec<&str> = field.words.iter().map(|(known, _)| &**known).collect();
                let (provider, name) = (self.asked.provider, &field.name);
                let shown: String = word.chars().take(60).collect();
                let text = format!(
                    "Provider '{provider}' does not support '{shown}' as '{name}'. Supported: {}.",
                    known.join(", ")
                );
                return Err(Error::new(Code::ParameterUnsupported, text).param(name.to_string()));
            }
            return self.put(field, Value::from(word));
        };
        for (name, value) in told {
            let value = Value::from(&**value);
            if *name == field.to { self.put(field, value)? } else { self.put_at(field.place, name, value)? }
        }
        Ok(())
    }

    fn put_bounded(&mut self, field: &'a Field, value: &Value) -> Result<()> {
        let told = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite());
        let told = told.ok_or_else(|| invalid(&field.name, "a number is expected"))?;
        let number = told.max(field.min.unwrap_or(f64::MIN)).min(field.max.unwrap_or(f64::MAX));
        if (number - told).abs() > 0.0 {
            self.drop(&format!("{}={number}", field.name));
        }
        let number = serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number);
        self.put(field, number)
    }

    fn put(&mut self, field: &'a Field, value: Value) -> Result<()> {
        let value = match &field.around {
            None => value,
            Some((before, behind)) => {
                let inner = text(&field.name, &value)?;
                Value::from(format!("{before}{inner}{behind}"))
            }
        };
        self.put_at(field.place, &field.to, value)
    }

    fn put_at(&mut self, place: Place, name: &'a str, value: Value) -> Result<()> {
        match place {
            Place::Path => {
                let segment = text(name, &value)?;
                if matches!(segment.as_str(), "" | "." | "..") || segment.len() > LONGEST_SEGMENT {
                    return Err(invalid(name, "it cannot be a part of a path"));
                }
                self.path.push((name, segment));
            }
            Place::Query => self.put_query(name, &value)?,
            Place::Body => return self.put_member(name, value),
        }
        Ok(())
    }

    /// A member of the body; of an object in it where there is a dot.
    fn put_member(&mut self, name: &str, value: Value) -> Result<()> {
        let Some((outer, inner)) = name.split_once('.') else {
            self.body.insert(name.to_string(), value);
            return Ok(());
        };
        // What the caller says of the object himself goes with it.
        let own = self.take(outer)?;
        let object = self.body.entry(outer).or_insert_with(|| own.unwrap_or_else(|| Value::Object(Map::new())));
        let object = object.as_object_mut().ok_or_else(|| invalid(outer, "an object is expected"))?;
        object.insert(inner.to_string(), value);
        Ok(())
    }

    /// How a transcript is to be told, which is done here.
    fn format(&mut self, formats: &[&str]) -> Result<()> {
        const NAME: &str = "response_format";
        let format = self.take(NAME)?;
        let word = format.as_ref().map_or(Some("json"), Value::as_str).map(str::trim);
        if !word.is_some_and(|word| formats.contains(&word)) {
            let text = format!(
                "Provider '{}' does not support this '{NAME}'. Supported: {}.",
                self.asked.provider,
                formats.join(", ")
            );
            return Err(Error::new(Code::ParameterUnsupported, text).param(NAME));
        }
        for given in self.given.iter_mut().filter(|given| given.name == "timestamp_granularities") {
            given.used = true;
        }
        Ok(())
    }

    /// Parameters that no field speaks of go as they are, unless a field has said something of that name.
    fn rest(&mut self) -> Result<()> {
        let in_query = self.worded.rest_in_query;
        let told: Vec<String> = match in_query {
            true => self.query.iter().map(|(name, _)| name.clone()).collect(),
            false => self.body.keys().cloned().collect(),
        };
        for Given { name, raw, value, used } in std::mem::take(&mut self.given) {
            if used || value.is_null() || matches!(&*name, "model" | FILE) || !is_plain(&name) {
                continue;
            }
            if told.contains(&name) {
                self.drop(&name);
                continue;
            }
            if in_query {
                self.put_query(&name, &value)?;
                continue;
            }
            match self.body.get_mut(&raw) {
                Some(Value::Array(list)) => list.push(value),
                Some(one) => *one = Value::Array(vec![one.take(), value]),
                None => drop(self.body.insert(raw, value)),
            }
        }
        Ok(())
    }

    fn put_query(&mut self, name: &str, value: &Value) -> Result<()> {
        for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            self.query.push((name.to_string(), text(name, value)?));
        }
        Ok(())
    }

    fn drop(&mut self, what: &str) {
        self.dropped.push(what.into());
    }

    /// The request line with what the path and the query say of this request.
    fn line(&self) -> Result<Bytes> {
        let template = std::str::from_utf8(self.asked.line).map_err(|error| invalid("", &error.to_string()))?;
        let filled = self.path.iter().fold(template.to_string(), |line, (name, segment)| {
            line.replace(&format!("{{{name}}}"), &escaped(segment))
        });
        let mut line = filled;
        for (name, value) in &self.query {
            line.push(if line.contains('?') { '&' } else { '?' });
            line.push_str(&escaped(name));
            line.push('=');
            line.push_str(&escaped(value));
        }
        Ok(line.into())
    }

    fn unsupported(&self, name: &str, instead: &str) -> Error {
        let text = format!("Provider '{}' does not support the parameter '{name}'. {instead}", self.asked.provider);
        Error::new(Code::ParameterUnsupported, text).param(name.to_string())
    }
}

/// The type of a recording: what the caller says, where that is one, and by its first bytes otherwise. Types such as JSON
/// would make another request of it.
fn sound(file: &Part, content: &[u8]) -> HeaderValue {
    let told = file.content_type.as_deref().filter(|kind| kind.starts_with("audio/") || kind.starts_with("video/"));
    let told = told.and_then(|kind| HeaderValue::from_str(kind).ok());
    told.unwrap_or_else(|| HeaderValue::from_static(kind_of(content)))
}

/// Fit for a parameter's name, and short enough to be told in a header.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Fit for a file's name.
fn is_fit(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._- ".contains(c)
}

fn missing(asked: &Asked<'_>, name: &str) -> Error {
    let text = format!("Missing required parameter: '{name}' (provider '{}' needs it).", asked.provider);
    Error::new(Code::PayloadMissing, text).param(name.to_string())
}
