//! What Google's generateContent format can say as a target.

use crate::dialect::hub::{Feature, Treatment};

pub fn treatment(feature: Feature) -> Treatment {
    use Feature as F;
    use Treatment::{Carry, Drop, Emulate, Reject};
    match feature {
        F::LogitBias
        | F::ParallelTools
        | F::StrictTools
        | F::ImageDetail
        | F::Citations
        | F::CacheMarks
        | F::Names
        | F::Verbosity
        | F::User
        | F::Metadata
        | F::Store
        | F::ServiceTier
        | F::PromptCacheKey => Drop,
        F::SystemInside => Emulate("joined to the instructions at the top"),
        F::ToolMedia => Emulate("in parts behind the results"),
        F::ToolError => Emulate("as the member `error` of the result"),
        F::Files => Reject("send the file's content in the request"),
        F::HostedTools => Reject("ask a model whose provider runs this tool, or define a function"),
        F::StoredState => Reject("send the whole conversation"),
        F::Foreign => Reject("ask a model that is served in the dialect the part comes from"),
        F::Choices
        | F::Logprobs
        | F::Penalties
        | F::Seed
        | F::TopK
        | F::StopSequences
        | F::ForcedTool
        | F::JsonObject
        | F::JsonSchema
        | F::Reasoning
        | F::ReasoningHistory
        | F::ImageUrl
        | F::Audio
        | F::Video
        | F::Documents
        | F::Prefill
        | F::Modalities => Carry,
    }
}
