//! The fields of a JSON request that decide what the answer looks like. Everything else is skipped, large parts are
//! borrowed unparsed.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Usage;
use super::errors::Failure;
use super::said::{Said, Wish};
use super::script::{Script, UsageMode};
use super::text::last_user_text;
use super::tools;

/// One JSON request of any operation.
#[derive(Debug, Default, Deserialize)]
pub struct Fields<'a> {
    #[serde(borrow)]
    pub model: Option<Cow<'a, str>>,
    /// ElevenLabs' name for it.
    #[serde(borrow)]
    pub model_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub messages: Option<&'a RawValue>,
    #[serde(borrow)]
    pub prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub n: Option<u64>,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    #[serde(borrow)]
    pub tools: Option<&'a RawValue>,
    #[serde(borrow)]
    pub tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    pub encoding_format: Option<Cow<'a, str>>,
    pub dimensions: Option<usize>,
    #[serde(borrow)]
    pub response_format: Option<&'a RawValue>,
    /// Where Responses and Anthropic ask for structured output.
    #[serde(borrow)]
    pub text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub output_config: Option<&'a RawValue>,
    #[serde(borrow)]
    pub voice: Option<&'a RawValue>,
    #[serde(borrow)]
    pub query: Option<&'a RawValue>,
    #[serde(borrow)]
    pub documents: Option<Vec<&'a RawValue>>,
    pub texts: Option<Vec<String>>,
    #[serde(borrow)]
    pub input_type: Option<Cow<'a, str>>,
    pub output_dimension: Option<usize>,
    pub top_n: Option<usize>,
    /// Voyage's name for it.
    pub top_k: Option<usize>,
    /// NVIDIA's name for documents.
    #[serde(borrow)]
    pub passages: Option<Vec<&'a RawValue>>,
    pub return_documents: Option<bool>,
}

/// OpenAI's `stream_options`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct StreamOptions {
    pub include_usage: Option<bool>,
}

impl<'a> Fields<'a> {
    /// Reads a body; the failure is what OpenAI would say.
    pub fn parse(body: &'a [u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("The JSON body of your request could not be read: {error}.")))
    }

    /// The text of `response_format` if it is a string, as images and audio have it.
    pub fn response_format_text(&self) -> Option<&str> {
        self.response_format.map(|raw| raw.get().trim_matches('"'))
    }

    /// What is said in answer, in the formats of OpenAI, Anthropic and Cohere.
    pub fn said(&self, script: &Script, limit: Option<u64>) -> Said {
        let read = |raw: Option<&RawValue>| -> Value {
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
        };
        let choice = read(self.tool_choice);
        let asked = [(self.response_format, ""), (self.text, "/format"), (self.output_config, "/format")];
        let schema = asked.into_iter().find_map(|(raw, place)| {
            let format = read(Some(raw?)).pointer(place)?.clone();
            let places = ["/json_schema/schema", "/json_schema", "/schema"];
            places.iter().find_map(|place| format.pointer(place)).cloned()
        });
        let tools = self.tools.map(|raw| read(Some(raw))).and_then(|tools| tools.as_array().cloned());
        let wish = Wish {
            limit,
            schema,
            tools: tools.unwrap_or_default(),
            named: tools::named(&choice),
            forced: tools::forced(&choice),
        };
        Said::plan(script, &wish, || {
            let raw = self.messages.or(self.input)?;
            serde_json::from_str(raw.get()).ok().or_else(|| last_user_text(raw))
        })
    }

    /// The most output tokens that are wanted.
    pub fn output_limit(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }
}

/// What a dialect needs to write an answer.
pub struct Call<'a> {
    pub script: &'a Script,
    /// The request's number, from which ids are made.
    pub number: u64,
    pub bytes_in: usize,
    /// The model to name in the answer.
    pub model: &'a str,
    /// Unix seconds.
    pub created: u64,
    /// As it was sent.
    pub query: &'a str,
}

impl Call<'_> {
    /// Token counts for so many words said.
    pub fn usage(&self, output: u64) -> Usage {
        Usage::plan(self.script, self.bytes_in, output)
    }

    /// Does a whole answer tell its usage?
    pub fn tells_usage(&self) -> bool {
        self.script.usage != UsageMode::None
    }

    /// Does a stream, given whether the request asks for it?
    pub fn stream_tells_usage(&self, asked: bool) -> bool {
        match self.script.usage {
            UsageMode::Normal => asked,
            UsageMode::None => false,
            UsageMode::Always => true,
        }
    }
}
