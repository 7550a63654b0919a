//! What OpenAI's chat format can say as a target.

use crate::dialect::hub::{Feature, Treatment};

pub fn treatment(feature: Feature) -> Treatment {
    use Feature as F;
    use Treatment::{Carry, Drop, Emulate, Reject};
    match feature {
        F::TopK | F::ReasoningHistory | F::Citations | F::CacheMarks | F::ToolError => Drop,
        F::ToolMedia => Emulate("in a user message behind the results"),
        F::Video => Reject("send frames as images, or ask a Gemini model"),
        F::Files => Reject("send the file's content in the request"),
        F::HostedTools => Reject("ask a model whose provider runs this tool, or define a function"),
        F::StoredState => Reject("send the whole conversation"),
        F::Foreign => Reject("ask a model that is served in the dialect the part comes from"),
        F::Choices
        | F::Logprobs
        | F::LogitBias
        | F::Penalties
        | F::Seed
        | F::StopSequences
        | F::ParallelTools
        | F::StrictTools
        | F::ForcedTool
        | F::JsonObject
        | F::JsonSchema
        | F::Reasoning
        | F::ImageUrl
        | F::ImageDetail
        | F::Audio
        | F::Documents
        | F::SystemInside
        | F::Names
        | F::Prefill
        | F::Verbosity
        | F::Modalities
        | F::User
        | F::Metadata
        | F::Store
        | F::ServiceTier
        | F::PromptCacheKey => Carry,
    }
}
