//! What a dialect cannot carry, and what becomes of it: one documented table, no silent loss.

use super::super::Format;

macro_rules! features {
    ($($variant:ident = $name:literal: $what:literal),+ $(,)?) => {
        /// Something a caller may ask for that not every dialect can say.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Feature { $(#[doc = $what] $variant),+ }

        impl Feature {
            pub const ALL: &'static [Feature] = &[$(Feature::$variant),+];

            /// The name under which a drop is announced in `x-ailink-dropped`.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$variant => $name),+ }
            }

            /// For the documentation.
            pub fn what(self) -> &'static str {
                match self { $(Feature::$variant => $what),+ }
            }
        }
    };
}

features! {
    Choices = "n": "more than one answer",
    Logprobs = "logprobs": "log probabilities",
    LogitBias = "logit_bias": "biased tokens",
    Penalties = "penalties": "presence and frequency penalties",
    Seed = "seed": "a seed",
    TopK = "top_k": "top-k sampling",
    StopSequences = "stop": "stop sequences, or more of them than the provider takes",
    ParallelTools = "parallel_tool_calls": "allowing or forbidding several tool calls at once",
    StrictTools = "strict": "strict tool schemas",
    ForcedTool = "tool_choice": "forcing a tool",
    HostedTools = "hosted_tools": "tools that the provider runs",
    JsonObject = "json_object": "any JSON object as output",
    JsonSchema = "json_schema": "output by a JSON schema",
    Reasoning = "reasoning": "how much the model may think",
    ReasoningHistory = "reasoning_history": "earlier reasoning and its signatures",
    ImageUrl = "image_url": "images by URL",
    ImageDetail = "image_detail": "the detail of an image",
    Audio = "audio": "audio input",
    Video = "video": "video input",
    Documents = "documents": "documents",
    Files = "file_id": "files uploaded to another provider",
    ToolMedia = "tool_media": "media in tool results",
    ToolError = "is_error": "marking a tool result as an error",
    Citations = "citations": "citations",
    CacheMarks = "cache_control": "cache marks",
    SystemInside = "system_inside": "instructions in the middle of a conversation",
    Names = "name": "names of speakers",
    Prefill = "prefill": "an answer begun by the caller",
    Verbosity = "verbosity": "how long the answer is to be",
    Modalities = "modalities": "output other than text",
    User = "user": "whom the request is made for",
    Metadata = "metadata": "metadata for the provider",
    Store = "store": "storing the answer at the provider",
    ServiceTier = "service_tier": "a service tier",
    PromptCacheKey = "prompt_cache_key": "a prompt cache key",
    StoredState = "previous_response_id": "conversations stored at the provider",
    Foreign = "foreign": "parts that only one dialect knows",
}

/// What becomes of a feature in a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Said in the dialect's own words.
    Carry,
    /// Said by other means; the text says which.
    Emulate(&'static str),
    /// Left out, and announced.
    Drop,
    /// Refused: leaving it out would change the meaning. The text names the alternative.
    Reject(&'static str),
}

/// What was left out of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    features: u64,
    /// Members that the target does not know, by the caller's names.
    members: Vec<String>,
}

impl Losses {
    /// Most members that are named in the header.
    const MEMBERS: usize = 16;

    pub fn add(&mut self, feature: Feature) {
        self.features |= 1 << feature as u64;
    }

    pub fn member(&mut self, name: &str) {
        let plain = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if plain && self.members.len() < Self::MEMBERS {
            self.members.push(name.to_string());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.features == 0 && self.members.is_empty()
    }

    /// The names for `x-ailink-dropped`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let features = Feature::ALL.iter().filter(|feature| self.features & 1 << **feature as u64 != 0);
        features.map(|feature| feature.name()).chain(self.members.iter().map(String::as_str))
    }
}

/// Where a codec asks what to do with a feature: carries on, or refuses.
///
/// # Errors
/// [`Unsupported`] when leaving it out would change the meaning.
pub fn lose(losses: &mut Losses, feature: Feature, target: Format) -> Result<Treatment, Unsupported> {
    let treatment = target.treatment(feature);
    match treatment {
        Treatment::Drop => losses.add(feature),
        Treatment::Reject(alternative) => return Err(Unsupported { feature, alternative }),
        Treatment::Carry | Treatment::Emulate(_) => {}
    }
    Ok(treatment)
}

/// A feature that the provider's dialect lacks and that cannot be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub feature: Feature,
    pub alternative: &'static str,
}
