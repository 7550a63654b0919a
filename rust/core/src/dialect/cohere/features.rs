//! What Cohere's chat format can say as a target.

use crate::dialect::hub::{Feature, Treatment};

pub fn treatment(feature: Feature) -> Treatment {
    use Feature as F;
    use Treatment::{Carry, Drop, Emulate, Reject};
    match feature {
        F::LogitBias
        | F::ParallelTools
        | F::ReasoningHistory
        | F::CacheMarks
        | F::ToolError
        | F::Names
        | F::Verbosity
        | F::User
        | F::Metadata
        | F::Store
        | F::ServiceTier
        | F::PromptCacheKey
        | F::Logprobs => Drop,
        F::ForcedTool => Emulate("one tool: by offering no other and requiring a call"),
        F::Choices => Reject("send the request several times"),
        F::ToolMedia => Reject("describe the media in the result's text"),
        F::Audio | F::Video => Reject("ask a model that takes sound or film, such as a Gemini model"),
        F::Modalities => Reject("ask a model that generates sound or images"),
        F::Files => Reject("send the file's content in the request"),
        F::HostedTools => Reject("ask a model whose provider runs this tool, or define a function"),
        F::StoredState => Reject("send the whole conversation"),
        F::Foreign => Reject("ask a model that is served in the dialect the part comes from"),
        F::Penalties
        | F::Seed
        | F::TopK
        | F::StopSequences
        | F::StrictTools
        | F::JsonObject
        | F::JsonSchema
        | F::Reasoning
        | F::ImageUrl
        | F::ImageDetail
        | F::Documents
        | F::SystemInside
        | F::Citations
        | F::Prefill => Carry,
    }
}
