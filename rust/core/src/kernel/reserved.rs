//! Names of body fields that are the operator's to set: a provider's address and credential, prices, made-up answers,
//! what is logged and where.
//!
//! They are LiteLLM's parameters, which its proxy refuses from clients too. Nothing in the gateway reads them from a
//! request, but a provider may: another gateway would take `api_base`, and an `api_key` would end up in a stranger's log.
//! No provider documents one of these names for its own format.
//!
//! Every key of every request is looked at, so the first four bytes decide almost always: they are looked up in 1,024
//! bits. Keys that requests usually have do not get beyond that (a test holds it).

/// Of names with one beginning.
const FAMILIES: [&str; 2] = ["aws_", "vertex_"];
/// How the names of prices begin: `input_cost_per_token`, `cache_read_input_token_cost`, …
const PRICES: [&str; 13] = [
    "input_",
    "output_",
    "cache_",
    "search_",
    "google_",
    "code_",
    "file_",
    "vector_",
    "computer_",
    "ocr_",
    "annotation_",
    "regional_",
    "video_",
];
const NAMES: [&str; 77] = [
    // Whom to ask, and as whom.
    "api_base",
    "api_key",
    "api_version",
    "azure_ad_token",
    "azure_ad_token_provider",
    "azure_password",
    "azure_username",
    "base_url",
    "custom_llm_provider",
    "deployment_url",
    "litellm_credential_name",
    "litellm_params",
    "model_info",
    "model_list",
    "nvcf_function_id",
    "region_name",
    "s3_endpoint_url",
    "sagemaker_base_url",
    "use_litellm_proxy",
    "user_config",
    "watsonx_region_name",
    // What it costs, beside the families of `PRICES`.
    "off_peak_pricing",
    "tiered_pricing",
    // Answers and failures that nobody gave.
    "mock_delay",
    "mock_response",
    "mock_testing_content_policy_fallbacks",
    "mock_testing_context_fallbacks",
    "mock_testing_fallbacks",
    "mock_testing_rate_limit_error",
    "mock_timeout",
    "mock_tool_calls",
    // What is logged, and where to.
    "arize_api_key",
    "arize_space_id",
    "arize_space_key",
    "braintrust_api_base",
    "braintrust_api_key",
    "braintrust_host",
    "braintrust_project_id",
    "callbacks",
    "dd_api_key",
    "dd_site",
    "failure_callback",
    "gcs_bucket_name",
    "gcs_path_service_account",
    "humanloop_api_key",
    "input_callback",
    "langfuse_environment",
    "langfuse_host",
    "langfuse_public_key",
    "langfuse_secret",
    "langfuse_secret_key",
    "langsmith_api_key",
    "langsmith_base_url",
    "langsmith_project",
    "langsmith_tenant_id",
    "litellm_disabled_callbacks",
    "litellm_logging_obj",
    "lunary_public_key",
    "newrelic_account_id",
    "newrelic_api_key",
    "newrelic_license_key",
    "newrelic_region",
    "no-log",
    "no_log",
    "posthog_api_key",
    "posthog_api_url",
    "posthog_host",
    "proxy_server_request",
    "s3_bucket_name",
    "signoz_endpoint",
    "signoz_ingestion_key",
    "slack_webhook_url",
    "success_callback",
    "turn_off_message_logging",
    "user_api_key_auth_metadata",
    "wandb_api_key",
    "weave_project_id",
];
/// The shortest of them, in bytes.
const SHORTEST: usize = 6;
const BEGINNINGS: [u64; 16] = beginnings();

const fn beginnings() -> [u64; 16] {
    let mut bits = [0; 16];
    mark(&mut bits, &FAMILIES);
    mark(&mut bits, &PRICES);
    mark(&mut bits, &NAMES);
    bits
}

const fn mark(bits: &mut [u64; 16], names: &[&str]) {
    let mut index = 0;
    while index < names.len() {
        let (word, bit) = place(names[index].as_bytes());
        bits[word] |= bit;
        index += 1;
    }
}

/// Where the first four bytes are marked; those of a shorter name do not matter.
#[inline(always)]
const fn place(name: &[u8]) -> (usize, u64) {
    let Some(first) = name.first_chunk::<4>() else { return (0, 0) };
    let hash = u32::from_le_bytes(*first).wrapping_mul(0x7ed4_d57b) >> 22;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

/// Whether a field of this name is refused from clients.
#[inline(always)]
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    may_be(name) && is_listed(name)
}

#[inline(always)]
fn may_be(name: &[u8]) -> bool {
    let (word, bit) = place(name);
    name.len() >= SHORTEST && BEGINNINGS[word] & bit != 0
}

#[cold]
#[inline(never)]
fn is_listed(name: &[u8]) -> bool {
    let begins = |prefix: &&str| name.starts_with(prefix.as_bytes());
    let has = |part: &[u8]| memchr::memmem::find(name, part).is_some();
    FAMILIES.iter().any(begins)
        || NAMES.iter().any(|known| known.as_bytes() == name)
        || PRICES.iter().any(begins) && (has(b"_cost_per_") || has(b"_token_cost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_operators_is_known_by_name_and_family() {
        let families = ["aws_region_name", "vertex_project", "input_cost_per_token", "output_cost_per_second_720p"];
        let prices = ["cache_read_input_token_cost_above_200k_tokens", "search_context_cost_per_query"];
        for name in NAMES.iter().chain(&families).chain(&prices) {
            assert!(name.len() >= SHORTEST, "{name}");
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in ["", "n", "api_bas", "api_base_", "API_BASE", "aws", "input_cost", "cost_per_token"] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
        let unlike = ["input_audio_format", "output_config", "litellm_metadata", "langfuse_prompt_version", "metadata"];
        assert!(unlike.iter().all(|name| !is_reserved(name.as_bytes())));
    }

    #[test]
    fn usual_fields_do_not_get_beyond_their_first_bytes() {
        let usual = "
            anthropic_version audio background contents conversation dimensions documents encoding_format
            frequency_penalty function_call functions generationConfig inferenceConfig include input
            instructions logit_bias logprobs max_completion_tokens max_output_tokens max_tokens
            max_tool_calls messages metadata modalities model n parallel_tool_calls prediction
            presence_penalty previous_response_id prompt prompt_cache_key query reasoning reasoning_effort
            response_format safetySettings safety_identifier seed service_tier stop stop_sequences store
            stream stream_options system systemInstruction temperature text thinking toolConfig tool_choice
            tools top_k top_logprobs top_n top_p truncation user verbosity voice web_search_options
        ";
        for name in usual.split_whitespace() {
            assert!(!may_be(name.as_bytes()), "{name}");
        }
    }
}
