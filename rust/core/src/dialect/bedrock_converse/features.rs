//! What Bedrock's Converse format can say as a target.

use crate::dialect::hub::{Feature, Treatment};

pub fn treatment(feature: Feature) -> Treatment {
    use Feature as F;
    use Treatment::{Carry, Drop, Emulate, Reject};
    match feature {
        F::Logprobs
        | F::LogitBias
        | F::Penalties
        | F::Seed
        | F::ParallelTools
        | F::ImageDetail
        | F::Names
        | F::Verbosity
        | F::User
        | F::Store
        | F::PromptCacheKey => Drop,
        F::SystemInside => Emulate("joined to the instructions at the top"),
        F::JsonObject => Emulate("as an instruction"),
        F::Choices => Reject("send the request several times"),
        F::ImageUrl => Reject("send the image itself, as base64 or as an s3:// address"),
        F::Modalities => Reject("ask a model that generates sound or images"),
        F::Files => Reject("send the file's content in the request"),
        F::HostedTools => Reject("ask a model whose provider runs this tool, or define a function"),
        F::StoredState => Reject("send the whole conversation"),
        F::Foreign => Reject("ask a model that is served in the dialect the part comes from"),
        F::TopK
        | F::StopSequences
        | F::StrictTools
        | F::ForcedTool
        | F::JsonSchema
        | F::Reasoning
        | F::ReasoningHistory
        | F::Audio
        | F::Video
        | F::Documents
        | F::ToolMedia
        | F::ToolError
        | F::Citations
        | F::CacheMarks
        | F::Prefill
        | F::Metadata
        | F::ServiceTier => Carry,
    }
}
