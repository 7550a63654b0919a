//! The hub: one form in which a conversation can be held, whatever dialect it was said in.
//!
//! A request in a dialect that its provider does not speak is read into a [`Request`] and written out again in the
//! provider's dialect; the answer comes back through a [`Answer`], or event by event through [`Delta`]s. The hub is
//! OpenAI's chat format widened by what others have and chat lacks: typed reasoning with its signatures, cache marks,
//! citations, documents. Between equal dialects nothing comes here: those bytes pass untouched.
//!
//! Everything borrows from the bytes it was read from; what nobody has to understand (schemas, numbers, tool inputs)
//! stays raw JSON.

mod answer;
mod delta;
mod feature;
mod gathered;
mod proof;
mod text;

use serde_json::value::RawValue;

pub use answer::{Answer, Choice, Finish};
pub use delta::Delta;
pub use feature::{Feature, Losses, Treatment, Unsupported, lose};
pub use gathered::Gathered;
pub use proof::{sealed, unsealed};
pub use text::{Json, Members, Text};

use super::Format;

/// A conversation to be continued.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    pub messages: Vec<Message<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice<'a>>,
    /// May the model call several tools at once; `None`: the provider's default.
    pub parallel_tools: Option<bool>,
    pub max_output: Option<u64>,
    pub sampling: Sampling<'a>,
    pub stop: Vec<Text<'a>>,
    /// How many answers are wanted.
    pub choices: Option<u64>,
    /// Log probabilities of the output, with this many alternatives per token.
    pub logprobs: Option<u64>,
    pub format: Option<OutputFormat<'a>>,
    pub reasoning: Option<Reasoning>,
    /// Length of the answer: `low`, `medium`, `high`.
    pub verbosity: Option<Text<'a>>,
    /// Whom the request is made for, as the caller tells the provider.
    pub user: Option<Text<'a>>,
    pub service_tier: Option<Text<'a>>,
    /// A hint which requests share a prefix.
    pub prompt_cache_key: Option<Text<'a>>,
    pub metadata: Option<&'a RawValue>,
    pub store: Option<bool>,
    /// Output other than text that is asked for: `audio`, `image`.
    pub modalities: Vec<Text<'a>>,
    /// Voice and format of spoken output.
    pub audio: Option<&'a RawValue>,
    pub stream: bool,
    /// The caller wants the usage of a stream told.
    pub include_usage: bool,
    /// Members that the hub has no name for, as the caller wrote them. The target takes what it knows by the same name;
    /// the rest is announced as dropped.
    pub rest: Vec<(Text<'a>, &'a RawValue)>,
}

/// Numbers as the caller wrote them, so that none is rounded on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampling<'a> {
    pub temperature: Option<&'a RawValue>,
    pub top_p: Option<&'a RawValue>,
    pub top_k: Option<&'a RawValue>,
    pub seed: Option<&'a RawValue>,
    pub presence_penalty: Option<&'a RawValue>,
    pub frequency_penalty: Option<&'a RawValue>,
    pub logit_bias: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions; `developer` is read as this too.
    System,
    User,
    Assistant,
    /// Results of tools. Dialects that put them into user messages are split and joined by their codecs.
    Tool,
}

#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub role: Role,
    pub parts: Vec<Part<'a>>,
    /// The speaker's name, where several share a role.
    pub name: Option<Text<'a>>,
}

/// One piece of a message, in the order it was said.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    Text {
        text: Text<'a>,
        /// Sources of the text, in Anthropic's form (`citations`) where they have one.
        citations: Option<Citations<'a>>,
        cache: Option<CacheMark>,
        /// Gemini's mark on a text part, given back unchanged.
        signature: Option<Text<'a>>,
    },
    Image {
        media: Media<'a>,
        /// `low`, `high`, `auto`.
        detail: Option<Text<'a>>,
        cache: Option<CacheMark>,
    },
    Audio {
        media: Media<'a>,
    },
    Video {
        media: Media<'a>,
    },
    Document {
        media: Media<'a>,
        /// File name or title.
        name: Option<Text<'a>>,
        /// The model shall cite it.
        citations: bool,
        cache: Option<CacheMark>,
    },
    ToolCall {
        id: Text<'a>,
        name: Text<'a>,
        /// JSON text; an empty string stands for no arguments.
        arguments: Text<'a>,
        /// Gemini's thought signature of the call, given back unchanged.
        signature: Option<Text<'a>>,
        cache: Option<CacheMark>,
    },
    ToolResult {
        id: Text<'a>,
        /// Known where the dialect gives it or an earlier call had the id.
        name: Option<Text<'a>>,
        parts: Vec<Part<'a>>,
        error: bool,
        cache: Option<CacheMark>,
    },
    Reasoning {
        /// Empty for reasoning that is only given back encrypted.
        text: Text<'a>,
        /// Proof for the provider that the text is its own; must be given back unchanged.
        signature: Option<Text<'a>>,
        /// Encrypted reasoning (`redacted_thinking`, `encrypted_content`).
        encrypted: Option<Text<'a>>,
        /// Item id (Responses).
        id: Option<Text<'a>>,
    },
    Refusal {
        text: Text<'a>,
    },
    /// What only one dialect knows (server tools and their results, computer use, …), as it stood there.
    Foreign {
        format: Format,
        kind: Text<'a>,
        raw: &'a RawValue,
    },
}

impl<'a> Part<'a> {
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Part::Text { text: text.into(), citations: None, cache: None, signature: None }
    }

    /// Streams have steps for it.
    pub fn streams(&self) -> bool {
        matches!(self, Part::Text { .. } | Part::ToolCall { .. } | Part::Reasoning { .. } | Part::Refusal { .. })
    }
}

/// Where a piece of media is.
#[derive(Clone, Debug)]
pub enum Media<'a> {
    Url {
        url: Text<'a>,
        mime: Option<Text<'a>>,
    },
    Base64 {
        /// Such as `image/png`; for audio OpenAI's short names are widened (`wav` → `audio/wav`).
        mime: Text<'a>,
        data: Text<'a>,
    },
    /// Id of an uploaded file at the provider.
    File {
        id: Text<'a>,
    },
    /// Plain text given as a document.
    Text {
        text: Text<'a>,
    },
}

/// Sources of a text, kept in the dialect that named them.
#[derive(Clone, Copy, Debug)]
pub struct Citations<'a> {
    pub format: Format,
    pub raw: &'a RawValue,
}

impl<'a> Citations<'a> {
    /// They come as an array, or one by one.
    pub fn each(&self) -> Vec<&'a RawValue> {
        serde_json::from_str(self.raw.get()).unwrap_or_else(|_| vec![self.raw])
    }
}

/// "Cache the prompt up to here".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMark {
    /// The provider's default, five minutes.
    Default,
    Hour,
}

#[derive(Clone, Debug)]
pub struct Tool<'a> {
    pub kind: ToolKind<'a>,
    pub cache: Option<CacheMark>,
}

#[derive(Clone, Debug)]
pub enum ToolKind<'a> {
    Function {
        name: Text<'a>,
        description: Option<Text<'a>>,
        /// JSON schema of the arguments.
        parameters: Option<Json<'a>>,
        strict: Option<bool>,
    },
    /// A tool that the provider runs (`web_search`, `code_execution`, `computer`, …), in its own dialect.
    Hosted { format: Format, kind: Text<'a>, raw: &'a RawValue },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    Auto,
    None,
    /// Some tool must be called.
    Required,
    /// This one.
    Named(Text<'a>),
}

#[derive(Clone, Debug)]
pub enum OutputFormat<'a> {
    Text,
    /// Any JSON object.
    Json,
    Schema {
        name: Option<Text<'a>>,
        description: Option<Text<'a>>,
        schema: Json<'a>,
        strict: Option<bool>,
    },
}

/// How much the model may think. `effort` and `budget` are two ways to say it; the codecs convert by
/// [`Reasoning::effort`] and [`Reasoning::budget`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    pub effort: Option<Effort>,
    /// Tokens.
    pub budget: Option<u64>,
    /// The caller wants to see it (Anthropic `display`, Gemini `includeThoughts`, Responses `summary`).
    pub visible: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
}

impl Effort {
    pub fn parse(name: &str) -> Option<Effort> {
        Some(match name {
            "none" | "disable" => Effort::None,
            "minimal" => Effort::Minimal,
            "low" => Effort::Low,
            "medium" => Effort::Medium,
            "high" => Effort::High,
            "xhigh" | "max" => Effort::XHigh,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
        }
    }
}

impl Reasoning {
    /// Thinking tokens for an effort, where only a budget can be given. The steps are those LiteLLM documents, so that a
    /// caller who moves sees no difference; 0 means no thinking.
    const BUDGETS: [(Effort, u64); 6] = [
        (Effort::None, 0),
        (Effort::Minimal, 1024),
        (Effort::Low, 1024),
        (Effort::Medium, 2048),
        (Effort::High, 4096),
        (Effort::XHigh, 16384),
    ];

    /// The budget that was given, or the one that the effort stands for.
    pub fn budget(&self) -> Option<u64> {
        let of = |effort| Self::BUDGETS.iter().find(|(name, _)| *name == effort).map(|(_, budget)| *budget);
        self.budget.or_else(|| self.effort.and_then(of))
    }

    /// The effort that was given, or the smallest one whose budget covers the one given.
    pub fn effort(&self) -> Option<Effort> {
        let for_budget = |budget| {
            let steps = [Effort::None, Effort::Low, Effort::Medium, Effort::High];
            let covers =
                |effort: &&Effort| Reasoning { effort: Some(**effort), ..Self::default() }.budget() >= Some(budget);
            steps.iter().find(covers).copied().unwrap_or(Effort::XHigh)
        };
        self.effort.or_else(|| self.budget.map(for_budget))
    }
}
