//! What conditions may ask about a request and its answer, found when they ask.

pub mod identity;
mod session;
pub mod streamed;
pub mod tools;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

pub use identity::{Told, Who, history, identity_of};

use crate::exchange::Exchange;
use crate::kernel::civil::{self, Offsets};
use crate::kernel::condition::{Fact, Facts, Field, Holder, fact_at};
use crate::kernel::language;
use crate::prompt;
use crate::state::sessions;
use crate::wire::json::{self, Kind};

const METADATA: [&str; 2] = ["x-ailink-metadata", "x-portkey-metadata"];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const SECOND_US: i64 = 1_000_000;

/// Zones by number (0: UTC) and calendars by name, their days counted from 1970.
#[derive(Debug, Default)]
pub struct Almanac {
    pub zones: Vec<Offsets>,
    pub calendars: HashMap<String, HashSet<i64>>,
}

/// An answer as conditions see it.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// In the caller's format; empty for a stream.
    pub body: Bytes,
    /// What it says, of a stream; of a whole answer it is found in the body.
    pub text: Option<String>,
    /// Tools it calls, with their arguments.
    pub calls: Vec<tools::Call>,
    pub provider: String,
    pub input: Option<u64>,
    pub output: Option<u64>,
    /// US dollars.
    pub cost: Option<f64>,
    pub latency_ms: u64,
}

/// A request and perhaps its answer, wherever they come from.
pub struct Scene<'s> {
    pub almanac: Option<&'s Almanac>,
    pub wall_us: i64,
    pub method: &'s str,
    pub path: &'s str,
    pub operation: &'s str,
    pub dialect: &'s str,
    pub headers: &'s HeaderMap,
    pub query: Option<&'s str>,
    pub body: &'s Bytes,
    /// The object that the body is, where that is known already.
    pub root: Option<json::Value>,
    pub model: &'s str,
    pub stream: bool,
    pub input: u64,
    pub max_output: Option<u64>,
    pub ip: Option<IpAddr>,
    pub who: Who<'s>,
    pub reply: Option<&'s Reply>,
}

/// The facts of one scene. Body and metadata are read once, if anybody asks for them.
pub struct RequestFacts<'e> {
    scene: Scene<'e>,
    /// Where the members of the body stand.
    members: OnceCell<Vec<json::Member>>,
    body: OnceCell<Value>,
    metadata: OnceCell<Map<String, Value>>,
    answer: OnceCell<Value>,
    calls: OnceCell<Vec<tools::Call>>,
    language: OnceCell<Option<&'static str>>,
}

impl<'e> RequestFacts<'e> {
    pub fn new(exchange: &'e Exchange) -> Self {
        RequestFacts::of(Scene::of(exchange, &exchange.call.body, None))
    }

    pub fn of(scene: Scene<'e>) -> Self {
        RequestFacts {
            scene,
            members: OnceCell::new(),
            body: OnceCell::new(),
            metadata: OnceCell::new(),
            answer: OnceCell::new(),
            calls: OnceCell::new(),
            language: OnceCell::new(),
        }
    }

    /// `Null` for what is no JSON.
    fn body(&self) -> &Value {
        self.body.get_or_init(|| serde_json::from_slice(self.scene.body).unwrap_or_default())
    }

    fn answer(&self) -> &Value {
        self.answer.get_or_init(|| {
            self.scene.reply.and_then(|reply| serde_json::from_slice(&reply.body).ok()).unwrap_or_default()
        })
    }

    fn member(&self, name: &str) -> Option<json::Value> {
        let body = self.scene.body;
        let members = self.members.get_or_init(|| {
            let root = self.scene.root.or_else(|| Some(json::scan_object(body, &[]).ok()?.root));
            root.into_iter().flat_map(|root| json::members(body, root)).collect()
        });
        members.iter().find(|member| is_named(body, member, name)).map(|member| member.value)
    }

    /// The fact at a path of the body, if no list has to be read for it.
    fn scanned(&self, path: &[String]) -> Option<Fact<'_>> {
        let body = self.scene.body;
        let (first, rest) = path.split_first()?;
        let Some(mut at) = self.member(first) else { return Some(Fact::Missing) };
        for step in rest {
            let found = match at.kind {
                Kind::Object => json::members(body, at).find(|member| is_named(body, member, step)),
                Kind::Array => return None,
                _ => None,
            };
            let Some(member) = found else { return Some(Fact::Missing) };
            at = member.value;
        }
        match at.kind {
            Kind::Array => None,
            Kind::Object | Kind::Null => Some(Fact::Missing),
            Kind::Bool => json::as_bool(body, at).map(Fact::Bool),
            Kind::String => json::string(body, at).map(Fact::Text),
            Kind::Number => std::str::from_utf8(at.raw(body)).ok()?.parse().ok().map(Fact::Number),
        }
    }

    /// A member of the body. A path over objects alone is followed without reading the rest.
    fn param(&self, path: &[String]) -> Fact<'_> {
        if self.body.get().is_none()
            && let Some(value) = self.scanned(path)
        {
            return value;
        }
        fact_at(self.body(), path)
    }

    /// Of the header; what it does not name, of the body.
    pub fn metadata(&self) -> &Map<String, Value> {
        self.metadata.get_or_init(|| {
            let own = self.member("metadata").map(|value| serde_json::from_slice(value.raw(self.scene.body)));
            let mut found: Map<String, Value> = own.and_then(Result::ok).unwrap_or_default();
            let header = METADATA.iter().find_map(|name| self.scene.headers.get(*name));
            let named: Option<Map<String, Value>> =
                header.and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
            found.extend(named.unwrap_or_default());
            found
        })
    }

    /// The richest kind of content in the messages.
    fn modality(&self) -> &'static str {
        let mut found = "text";
        let messages = self.body().get("messages").and_then(Value::as_array);
        let contents = messages.into_iter().flatten().filter_map(|message| message.get("content")?.as_array());
        for part in contents.flatten().filter_map(|part| part.get("type")?.as_str()) {
            found = match part {
                "image_url" | "image" | "input_image" if found == "text" => "image",
                "input_audio" | "audio" => "audio",
                "file" | "document" | "input_file" if found != "audio" => "file",
                _ => found,
            };
        }
        found
    }

    fn language(&self) -> Option<&'static str> {
        *self.language.get_or_init(|| language::of(&String::from_utf8_lossy(&prompt::read(self.scene.body).text)))
    }

    fn calls(&self) -> &[tools::Call] {
        self.calls.get_or_init(|| match self.scene.reply {
            Some(reply) if !reply.calls.is_empty() => reply.calls.clone(),
            Some(_) => tools::calls(self.answer()),
            None => tools::last_calls(self.body()),
        })
    }

    /// Calls in the answer, where there is one.
    fn answered_calls(&self) -> &[tools::Call] {
        if self.scene.reply.is_some() { self.calls() } else { &[] }
    }

    fn answered_text(&self) -> String {
        match self.scene.reply {
            Some(reply) => reply.text.clone().unwrap_or_else(|| tools::said(self.answer())),
            None => String::new(),
        }
    }

    fn argument(&self, tool: &str, path: &[String]) -> Fact<'_> {
        let of_tool = self.calls().iter().filter(|call| tool == "*" || call.name == tool);
        let found: Vec<Fact<'_>> =
            of_tool.map(|call| fact_at(&call.arguments, path)).filter(|fact| *fact != Fact::Missing).collect();
        if found.is_empty() { Fact::Missing } else { Fact::Many(found) }
    }

    /// Seconds since 1970 on the clocks of a zone.
    fn local(&self, zone: u16) -> i64 {
        let utc = self.scene.wall_us.div_euclid(SECOND_US);
        let offsets = self.scene.almanac.and_then(|almanac| almanac.zones.get(usize::from(zone)));
        offsets.map_or(utc, |offsets| offsets.local(utc))
    }

    fn time(&self, field: &Field) -> Fact<'_> {
        let number = |value: i64| Fact::Number(value as f64);
        let parts = |zone: &u16| {
            let local = self.local(*zone);
            (local.div_euclid(86_400), local.rem_euclid(86_400))
        };
        match field {
            Field::Hour(zone) => number(parts(zone).1 / 3600),
            Field::Minute(zone) => number(parts(zone).1 / 60 % 60),
            Field::Day(zone) => number(i64::from(civil::date(parts(zone).0).2)),
            Field::Month(zone) => number(i64::from(civil::date(parts(zone).0).1)),
            Field::Weekday(zone) => {
                let day = civil::weekday(parts(zone).0);
                DAYS.get(day).map_or(Fact::Missing, |day| Fact::Text(Cow::Borrowed(*day)))
            }
            Field::Date(zone) => Fact::Text(Cow::Owned(civil::date_text(parts(zone).0))),
            Field::Clock(zone) => {
                let second = parts(zone).1;
                Fact::Text(Cow::Owned(format!("{:02}:{:02}", second / 3600, second / 60 % 60)))
            }
            Field::Calendar(name, zone) => {
                let days = self.scene.almanac.and_then(|almanac| almanac.calendars.get(name));
                Fact::Bool(days.is_some_and(|days| days.contains(&parts(zone).0)))
            }
            _ => Fact::Missing,
        }
    }

    fn of_answer<'a>(&'a self, reply: &'a Reply, field: &Field) -> Fact<'a> {
        let number = |value: Option<f64>| value.map_or(Fact::Missing, Fact::Number);
        match field {
            Field::Status => Fact::Number(f64::from(reply.status)),
            Field::AnswerBody(path) => fact_at(self.answer(), path),
            Field::AnswerHeader(name) => header(&reply.headers, name),
            Field::AnswerText => match &reply.text {
                Some(text) => Fact::Text(Cow::Borrowed(text)),
                None => Fact::Text(Cow::Owned(tools::said(self.answer()))),
            },
            Field::Provider => Fact::Text(Cow::Borrowed(&reply.provider)),
            Field::OutputTokens => number(reply.output.map(|count| count as f64)),
            Field::Cost => number(reply.cost),
            Field::LatencyMs => Fact::Number(reply.latency_ms as f64),
            _ => Fact::Missing,
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Fact<'h> {
    match headers.get(name).and_then(|value| value.to_str().ok()) {
        // Who the caller is goes by the key, not by the secret.
        Some(value) if !SECRET.contains(&name) => Fact::Text(Cow::Borrowed(value)),
        _ => Fact::Missing,
    }
}

fn is_named(body: &[u8], member: &json::Member, name: &str) -> bool {
    json::string(body, member.key).is_some_and(|key| key == name)
}

impl Facts for RequestFacts<'_> {
    fn fact(&self, field: &Field) -> Fact<'_> {
        let scene = &self.scene;
        let text = |text| Fact::Text(Cow::Borrowed(text));
        match field {
            Field::Metadata(name) => self.metadata().get(name).map_or(Fact::Missing, Fact::from),
            Field::Param(path) if path.len() == 1 && path.first().is_some_and(|name| name == "model") => {
                text(scene.model)
            }
            Field::Param(path) => self.param(path),
            Field::Header(name) => header(scene.headers, name),
            Field::Query(name) => {
                let pairs = scene.query.into_iter().flat_map(|query| query.split('&'));
                let found = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| key == name);
                found.filter(|_| name != "key").map_or(Fact::Missing, |(_, value)| text(value))
            }
            Field::Method => text(scene.method),
            Field::Path => text(scene.path),
            Field::BodySize => Fact::Number(scene.body.len() as f64),
            Field::Model => text(scene.model),
            Field::Operation => text(scene.operation),
            Field::Dialect => text(scene.dialect),
            Field::Stream => Fact::Bool(scene.stream),
            Field::InputTokens => {
                let told = scene.reply.and_then(|reply| reply.input);
                Fact::Number(told.unwrap_or(scene.input) as f64)
            }
            Field::MaxTokens => scene.max_output.map_or(Fact::Missing, |tokens| Fact::Number(tokens as f64)),
            Field::Modality => text(self.modality()),
            Field::Language => self.language().map_or(Fact::Missing, text),
            Field::User => self.param(&["user".to_string()]),
            Field::Ip => scene.ip.map_or(Fact::Missing, |ip| Fact::Text(Cow::Owned(ip.to_string()))),
            Field::Tools => {
                let names = tools::offered(self.body());
                if names.is_empty() { Fact::Missing } else { Fact::Many(names.into_iter().map(text).collect()) }
            }
            Field::ToolCalls => {
                let calls = self.calls();
                let names = calls.iter().map(|call| text(&call.name)).collect();
                if calls.is_empty() { Fact::Missing } else { Fact::Many(names) }
            }
            Field::ToolArgument(tool, path) => self.argument(tool, path),
            Field::RepeatedCalls => Fact::Number(session::repeated(self.body(), self.answered_calls()) as f64),
            Field::Depth => Fact::Number(session::depth(self.body(), self.answered_calls()) as f64),
            Field::Repetition => Fact::Number(session::repetition(self.body(), &self.answered_text())),
            Field::Owner(Holder::Session) => match sessions::named(scene.headers) {
                Some(name) => Fact::Text(String::from_utf8_lossy(name)),
                None => Fact::Missing,
            },
            Field::KeyId
            | Field::KeyAlias
            | Field::KeyRole
            | Field::Owner(_)
            | Field::OwnerAlias(_)
            | Field::Tags
            | Field::EstimatedCost
            | Field::BudgetLeft
            | Field::BudgetLeftPercent
            | Field::History(..) => scene.who.fact(field, scene.wall_us),
            Field::Hour(_)
            | Field::Minute(_)
            | Field::Weekday(_)
            | Field::Day(_)
            | Field::Month(_)
            | Field::Date(_)
            | Field::Clock(_)
            | Field::Calendar(..) => self.time(field),
            Field::Status
            | Field::AnswerBody(_)
            | Field::AnswerHeader(_)
            | Field::AnswerText
            | Field::Provider
            | Field::OutputTokens
            | Field::Cost
            | Field::LatencyMs => scene.reply.map_or(Fact::Missing, |reply| self.of_answer(reply, field)),
        }
    }
}

impl<'s> Scene<'s> {
    /// The request of an exchange. `body`: as it was before it was sent.
    pub fn of(exchange: &'s Exchange, body: &'s Bytes, reply: Option<&'s Reply>) -> Scene<'s> {
        Scene {
            almanac: Some(&exchange.snapshot.almanac),
            wall_us: exchange.wall_us,
            method: exchange.endpoint.method.as_str(),
            path: exchange.endpoint.pattern,
            operation: exchange.endpoint.operation.name(),
            dialect: exchange.endpoint.dialect.name(),
            headers: &exchange.headers,
            query: exchange.query.as_deref(),
            body,
            root: exchange.call.root.filter(|_| std::ptr::eq(body, &raw const exchange.call.body)),
            model: &exchange.call.model,
            stream: exchange.call.stream,
            input: u64::from(exchange.call.est_input),
            max_output: exchange.call.max_output,
            ip: Some(exchange.client),
            who: Who::Caller(exchange),
            reply,
        }
    }
}

/// Headers that carry credentials.
pub const SECRET: [&str; 7] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "x-portkey-api-key", "cookie"];
