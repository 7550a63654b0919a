//! What a request asks for, as it was read from its body.

use bytes::Bytes;
use http::HeaderValue;

use crate::kernel::{sound::Length, tokens::Encoding};
use crate::wire::json::Value;

/// What the caller asks for, as offsets into the bytes he sent.
#[derive(Clone, Default)]
pub struct Call {
    pub body: Bytes,
    /// The model as the caller named it.
    pub model: String,
    /// Where the model's value stands in `body` (a JSON string with its quotes, or the content of a form field).
    pub model_span: Option<(u32, u32)>,
    /// Where the model stands once more, in requests inside `body` (Google's batches).
    pub inner_models: Vec<(u32, u32)>,
    /// The boundary of a form.
    pub boundary: Option<String>,
    pub content_type: Option<HeaderValue>,
    pub stream: bool,
    pub stream_options: Option<Value>,
    /// The root object, where a member can be added.
    pub root: Option<Value>,
    /// What the caller said about `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    pub include_usage_value: Option<Value>,
    pub stream_value: Option<Value>,
    pub max_output: Option<u64>,
    pub choices: u64,
    pub est_input: u32,
    /// Nobody waits for the answer; it is kept.
    pub background: bool,
    /// Bytes of the content that tokens are counted of.
    pub content_bytes: u32,
    /// Tokens of the request counted one by one, where an estimate would not do.
    pub counted: Option<Counted>,
    /// Characters of a text that is to be spoken.
    pub characters: u32,
    /// How long a recording that is to be written down plays.
    pub recording: Length,
    /// Who it is for, as OpenAI's clients say.
    pub user: Option<Value>,
    pub metadata: Option<Value>,
    /// LiteLLM's controls of the cache, which were taken out of the body.
    pub cache: Option<Box<serde_json::Value>>,
    /// The first of its fields that is the operator's to set.
    pub reserved: Option<Box<str>>,
}

/// What came of counting the tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// By the vocabulary of this family of models.
    Exactly(Encoding, u32),
    /// It cannot be counted: the estimate stands.
    Not,
}
