//! The response object, and what stands in its place when it fails.

use super::encoder::Encoder;
use crate::dialect::hub::Finish;
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::wire::json::write::{Writer, escape};

impl Encoder {
    /// Everything of the response; `over`: as it is at the end.
    pub(super) fn write(&self, json: &mut Writer, over: bool) {
        json.begin_object().member("id", &self.id).member("object", "response");
        json.key("created_at").int(self.created);
        json.member("status", if over { self.status() } else { "in_progress" }).key("background").bool(false);
        json.key("error");
        match &self.failure {
            Some(message) => {
                json.begin_object().member("code", "server_error").member("message", message).end_object();
            }
            None => _ = json.null(),
        }
        json.key("incomplete_details");
        match self.finish {
            Finish::Length | Finish::ContextWindow if over => {
                json.begin_object().member("reason", "max_output_tokens").end_object();
            }
            Finish::ContentFilter if over => _ = json.begin_object().member("reason", "content_filter").end_object(),
            _ => _ = json.null(),
        }
        if let Ok(repeated) = std::str::from_utf8(&self.context.request)
            && !repeated.is_empty()
        {
            json.json(repeated);
        }
        json.member("model", &self.model).key("output").begin_array();
        if over
            && let Ok(output) = std::str::from_utf8(&self.output)
            && !output.is_empty()
        {
            json.json(output);
        }
        json.end_array();
        match std::str::from_utf8(&self.context.kept) {
            Ok(kept) if !kept.is_empty() => json.json(kept),
            _ => json.json(r#""previous_response_id":null,"store":false"#),
        };
        json.member("service_tier", openai_tier(self.usage));
        json.key("usage");
        match self.usage.filter(|_| over) {
            Some(usage) => write_usage(json, &usage),
            None => _ = json.null(),
        }
        json.end_object();
    }
}

/// OpenAI's name of how urgently the provider worked.
fn openai_tier(usage: Option<Usage>) -> &'static str {
    match usage.map(|usage| usage.service) {
        None | Some(Service::Standard) => "default",
        Some(service) => service.name(),
    }
}

fn write_usage(json: &mut Writer, usage: &Usage) {
    let (input, output) = (usage.prompt(), usage.answer());
    json.begin_object().key("input_tokens").uint(input);
    json.key("input_tokens_details").begin_object().key("cached_tokens").uint(usage.cached()).end_object();
    json.key("output_tokens").uint(output).key("output_tokens_details").begin_object();
    json.key("reasoning_tokens").uint(usage.reasoning).end_object();
    json.key("total_tokens").uint(input.saturating_add(output)).end_object();
}

/// What ends a stream that the gateway itself cannot go on with.
pub fn error_event(body: &[u8]) -> Vec<u8> {
    #[derive(Default, serde::Deserialize)]
    struct Wire {
        #[serde(default)]
        error: Inner,
    }
    #[derive(Default, serde::Deserialize)]
    struct Inner {
        #[serde(default)]
        message: String,
        #[serde(default)]
        code: Option<String>,
    }
    let wire: Wire = serde_json::from_slice(body).unwrap_or_default();
    let mut out = b"event: error\ndata: {\"type\":\"error\",\"code\":".to_vec();
    escape(&mut out, wire.error.code.as_deref().unwrap_or("server_error"));
    out.extend_from_slice(b",\"message\":");
    escape(&mut out, &wire.error.message);
    out.extend_from_slice(b",\"param\":null,\"sequence_number\":0}\n\n");
    out
}
