//! What conditions may ask about a request, found when they ask.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::{Map, Value};

use crate::exchange::Exchange;
use crate::kernel::condition::{Fact, Facts, Field, member};

const METADATA: [&str; 2] = ["x-ailink-metadata", "x-portkey-metadata"];
const DAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];
const SECOND_US: i64 = 1_000_000;

/// The facts of one request. The body and the metadata are read once, if anybody asks for them.
pub struct RequestFacts<'e> {
    exchange: &'e Exchange,
    body: OnceCell<Map<String, Value>>,
    metadata: OnceCell<Map<String, Value>>,
}

impl<'e> RequestFacts<'e> {
    pub fn new(exchange: &'e Exchange) -> Self {
        RequestFacts { exchange, body: OnceCell::new(), metadata: OnceCell::new() }
    }

    fn body(&self) -> &Map<String, Value> {
        self.body.get_or_init(|| match self.exchange.call.root {
            Some(_) => serde_json::from_slice(&self.exchange.call.body).unwrap_or_default(),
            None => Map::new(),
        })
    }

    /// Of the header; what it does not name, of the body.
    fn metadata(&self) -> &Map<String, Value> {
        self.metadata.get_or_init(|| {
            let call = &self.exchange.call;
            let own = call.metadata.map(|value| value.raw(&call.body));
            let mut found: Map<String, Value> =
                own.and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default();
            let header = METADATA.iter().find_map(|name| self.exchange.headers.get(*name));
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
}

impl Facts for RequestFacts<'_> {
    fn fact(&self, field: &Field) -> Fact<'_> {
        let exchange = self.exchange;
        let text = |text: &'static str| Fact::Text(Cow::Borrowed(text));
        let seconds = exchange.wall_us.div_euclid(SECOND_US);
        let of_day = seconds.rem_euclid(86_400);
        let key = exchange.key.as_deref();
        match field {
            Field::Metadata(name) => self.metadata().get(name).map_or(Fact::Missing, Fact::from),
            Field::Param(path) if path.len() == 1 && path.first().is_some_and(|name| name == "model") => {
                Fact::Text(Cow::Borrowed(&exchange.call.model))
            }
            Field::Param(path) => member(self.body(), path).map_or(Fact::Missing, Fact::from),
            Field::Header(name) => match exchange.headers.get(name).and_then(|value| value.to_str().ok()) {
                // Who the caller is goes by the key, not by the secret.
                Some(value) if !SECRET.contains(&name.as_str()) => Fact::Text(Cow::Borrowed(value)),
                _ => Fact::Missing,
            },
            Field::Path => text(exchange.endpoint.pattern),
            Field::Model => Fact::Text(Cow::Borrowed(&exchange.call.model)),
            Field::Operation => text(exchange.endpoint.operation.name()),
            Field::Stream => Fact::Bool(exchange.call.stream),
            Field::InputTokens => Fact::Number(f64::from(exchange.call.est_input)),
            Field::MaxTokens => exchange.call.max_output.map_or(Fact::Missing, |tokens| Fact::Number(tokens as f64)),
            Field::Modality => text(self.modality()),
            Field::KeyId => key.map_or(Fact::Missing, |key| Fact::Text(Cow::Borrowed(&key.id))),
            Field::User => {
                let call = &exchange.call;
                let user = call.user.and_then(|user| serde_json::from_slice::<String>(user.raw(&call.body)).ok());
                user.map_or(Fact::Missing, |user| Fact::Text(Cow::Owned(user)))
            }
            Field::Hour => Fact::Number((of_day / 3600) as f64),
            Field::Weekday => {
                let day = usize::try_from(seconds.div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
                DAYS.get(day).map_or(Fact::Missing, |day| text(day))
            }
            Field::Time => Fact::Text(Cow::Owned(format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60))),
        }
    }
}

/// Headers that carry credentials.
const SECRET: [&str; 7] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "x-portkey-api-key", "cookie"];
