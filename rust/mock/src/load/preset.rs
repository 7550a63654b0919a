//! Request bodies of known size.

use crate::provider::filler;

/// A built-in body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// A chat of 1,024 bytes.
    Chat,
    /// A chat of 16,384 bytes in 11 messages.
    Chat16k,
    /// An Anthropic message of 1,024 bytes.
    Messages,
}

impl Preset {
    /// The preset with this name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "chat" => Some(Self::Chat),
            "chat16k" => Some(Self::Chat16k),
            "messages" => Some(Self::Messages),
            _ => None,
        }
    }

    /// Is it spoken to Anthropic's API?
    pub const fn is_anthropic(self) -> bool {
        matches!(self, Self::Messages)
    }

    /// The body; a long model name or `stream` leaves less room for filler, the size stays.
    pub fn body(self, model: &str, stream: bool) -> String {
        let (size, turns) = match self {
            Self::Chat | Self::Messages => (1024, 1),
            Self::Chat16k => (16 * 1024, 11),
        };
        let mut fields = format!(r#"{{"model":"{model}","#);
        if self.is_anthropic() {
            fields.push_str(r#""max_tokens":1024,"#);
        }
        if stream {
            fields.push_str(r#""stream":true,"#);
            if !self.is_anthropic() {
                fields.push_str(r#""stream_options":{"include_usage":true},"#);
            }
        }
        fields.push_str(r#""messages":["#);
        let roles = ["user", "assistant"];
        let frame = |turn: usize| {
            let role = roles.get(turn % 2).copied().unwrap_or_default();
            format!(r#"{}{{"role":"{role}","content":""#, if turn == 0 { "" } else { "," })
        };
        let frames: usize = (0..turns).map(|turn| frame(turn).len() + 2).sum();
        let room = usize::saturating_sub(size, fields.len() + frames + 2);
        let mut body = fields;
        for turn in 0..turns {
            let length = room / turns + usize::from(turn < room % turns);
            body.push_str(&frame(turn));
            body.push_str(&filler(length));
            body.push_str("\"}");
        }
        body.push_str("]}");
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_and_the_json_is_right() {
        for stream in [false, true] {
            for (preset, size, turns) in
                [(Preset::Chat, 1024, 1), (Preset::Chat16k, 16_384, 11), (Preset::Messages, 1024, 1)]
            {
                let body = preset.body("gpt-4o", stream);
                assert_eq!(body.len(), size);
                let value: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(value["messages"].as_array().unwrap().len(), turns);
                assert_eq!(value.get("stream").is_some(), stream);
            }
        }
    }
}
