//! What Anthropic's messages format can say as a target.

use crate::dialect::hub::{Feature, Treatment};

pub fn treatment(feature: Feature) -> Treatment {
    use Feature as F;
    use Treatment::{Carry, Drop, Emulate, Reject};
    match feature {
        F::Logprobs
        | F::LogitBias
        | F::Penalties
        | F::Seed
        | F::ImageDetail
        | F::Names
        | F::Verbosity
        | F::Metadata
        | F::Store
        | F::PromptCacheKey => Drop,
        F::SystemInside => Emulate("joined to the instructions at the top"),
        F::JsonObject => Emulate("as an instruction"),
        F::Choices => Reject("send the request several times"),
        F::Audio | F::Video => Reject("ask a model that takes sound or film, such as a Gemini model"),
        F::Modalities => Reject("ask a model that generates sound or images"),
        F::Files => Reject("send the file's content in the request"),
        F::HostedTools => Reject("ask a model whose provider runs this tool, or define a function"),
        F::StoredState => Reject("send the whole conversation"),
        F::Foreign => Reject("ask a model that is served in the dialect the part comes from"),
        F::TopK
        | F::StopSequences
        | F::ParallelTools
        | F::StrictTools
        | F::ForcedTool
        | F::JsonSchema
        | F::Reasoning
        | F::ReasoningHistory
        | F::ImageUrl
        | F::Documents
        | F::ToolMedia
        | F::ToolError
        | F::Citations
        | F::CacheMarks
        | F::Prefill
        | F::User
        | F::ServiceTier => Carry,
    }
}
