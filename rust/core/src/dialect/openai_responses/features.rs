//! What OpenAI's Responses format can say as a target.

use crate::dialect::hub::{Feature, Treatment};

pub fn treatment(feature: Feature) -> Treatment {
    use Feature as F;
    use Treatment::{Carry, Drop, Reject};
    match feature {
        F::LogitBias
        | F::Penalties
        | F::Seed
        | F::TopK
        | F::StopSequences
        | F::ReasoningHistory
        | F::Citations
        | F::CacheMarks
        | F::ToolError
        | F::Names => Drop,
        F::Choices => Reject("send the request several times"),
        F::Audio => Reject("ask a model that is served in OpenAI's chat format"),
        F::Video => Reject("send frames as images, or ask a Gemini model"),
        F::Modalities => Reject("ask a model that is served in OpenAI's chat format"),
        F::Files => Reject("send the file's content in the request"),
        F::HostedTools => Reject("ask a model whose provider runs this tool, or define a function"),
        F::StoredState => Reject("send the whole conversation"),
        F::Foreign => Reject("ask a model that is served in the dialect the part comes from"),
        F::Logprobs
        | F::ParallelTools
        | F::StrictTools
        | F::ForcedTool
        | F::JsonObject
        | F::JsonSchema
        | F::Reasoning
        | F::ImageUrl
        | F::ImageDetail
        | F::Documents
        | F::ToolMedia
        | F::SystemInside
        | F::Prefill
        | F::Verbosity
        | F::User
        | F::Metadata
        | F::Store
        | F::ServiceTier
        | F::PromptCacheKey => Carry,
    }
}
