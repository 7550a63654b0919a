//! Google's Live API over a WebSocket: the first message names the model, and so the script. A turn is answered when the
//! client says that its own is complete, sends text in real time, ends its sound or answers a call.
//!
//! A token of sound is 1,280 bytes of what was sent (40 ms of 16 kHz, 16 bit); text counts as everywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::answer::Usage;
use super::realtime::Session;
use super::requests::End;
use super::script::{CutAt, CutKind, UsageMode};
use super::text::Speech;

const AUDIO_TOKEN: u64 = 1_280;

/// Is this path one of the Live API?
pub fn is_path(path: &str) -> bool {
    path.ends_with("BidiGenerateContent")
}

/// What the client has told so far.
#[derive(Default)]
struct Told {
    sound: bool,
    text_bytes: u64,
    audio_bytes: u64,
}

impl Session {
    pub(super) async fn converse<S>(&mut self, socket: &mut WebSocketStream<S>) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut told = Told::default();
        let mut begun = false;
        loop {
            let bytes = match socket.next().await {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message.into_data(),
                Some(Ok(Message::Close(_))) => {
                    while let Some(Ok(_)) = socket.next().await {}
                    return End::Done;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return End::ClientGone,
            };
            let message: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let end = match (begun, message["setup"]["model"].as_str()) {
                (false, Some(model)) => {
                    begun = true;
                    told.sound = message["setup"]["generationConfig"]["responseModalities"] == json!(["AUDIO"]);
                    self.set_up(socket, model).await
                }
                (true, None) => match told.hear(&message) {
                    true => self.turn(socket, &told).await,
                    false => None,
                },
                _ => refuse(socket, CloseCode::Invalid, "setup must be the first message, and the only one").await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn set_up<S>(&mut self, socket: &mut WebSocketStream<S>, model: &str) -> Option<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some((_, named)) = model.rsplit_once("models/") else {
            return refuse(socket, CloseCode::Invalid, "the model is no resource").await;
        };
        let (name, script) = named.split_once('?').unwrap_or((named, ""));
        self.model = name.to_owned();
        if let Err(error) = self.script.apply(script) {
            return refuse(socket, CloseCode::Invalid, &error.to_string()).await;
        }
        if self.script.status.is_some_and(|status| status >= 400) {
            return refuse(socket, CloseCode::Policy, "The mock provider was told to fail this session.").await;
        }
        send(socket, &json!({"setupComplete": {}})).await
    }

    async fn turn<S>(&mut self, socket: &mut WebSocketStream<S>, told: &Told) -> Option<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let speech = Speech::plan(&self.script, None, None);
        for number in 0..speech.pieces.count() {
            match self.script.cut.filter(|cut| cut.at == CutAt::Event(number)).map(|cut| cut.kind) {
                Some(CutKind::Reset) => return Some(End::Reset),
                Some(CutKind::Close) => return Some(End::Closed),
                Some(CutKind::Stall) => {
                    while let Some(Ok(_)) = socket.next().await {}
                    return Some(End::ClientGone);
                }
                None => {}
            }
            if let Some(gap) = self.script.gap {
                tokio::time::sleep(gap.sample(&mut self.random)).await;
            }
            let piece = speech.pieces.get(number);
            let part = match told.sound {
                true => {
                    json!({"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": STANDARD.encode(piece.repeat(64))}})
                }
                false => json!({"text": piece}),
            };
            let turn = json!({"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}});
            if let Some(end) = send(socket, &turn).await {
                return Some(end);
            }
            self.exchange.events_out += 1;
        }
        let done = json!({"serverContent": {"generationComplete": true}});
        if let Some(end) = send(socket, &done).await {
            return Some(end);
        }
        let mut over = json!({"serverContent": {"turnComplete": true}});
        let usage = self.counted(told, speech.tokens);
        if self.script.usage != UsageMode::None {
            over["usageMetadata"] = usage;
        }
        send(socket, &over).await
    }

    /// What a turn used; also what the journal will say of the session.
    fn counted(&mut self, told: &Told, output: u64) -> Value {
        let tokens = &self.script.tokens;
        let audio = told.audio_bytes.div_ceil(AUDIO_TOKEN);
        let input = tokens.input.unwrap_or(told.text_bytes.div_ceil(4) + audio);
        let output = tokens.output.unwrap_or(output);
        let total = &mut self.exchange.usage;
        *total = Usage { input: total.input + input, output: total.output + output, told: true, ..*total };
        let modality = |name: &str, count: u64| json!([{"modality": name, "tokenCount": count}]);
        let mut prompt = modality("TEXT", input - audio.min(input));
        if audio > 0 {
            prompt = json!([prompt[0], {"modality": "AUDIO", "tokenCount": audio.min(input)}]);
        }
        json!({
            "promptTokenCount": input, "responseTokenCount": output, "totalTokenCount": input + output,
            "promptTokensDetails": prompt,
            "responseTokensDetails": modality(if told.sound { "AUDIO" } else { "TEXT" }, output),
        })
    }
}

impl Told {
    /// Takes a message of the client in; true when the model is to answer.
    fn hear(&mut self, message: &Value) -> bool {
        let live = member(message, "realtimeInput", "realtime_input");
        let content = member(message, "clientContent", "client_content");
        let results = member(message, "toolResponse", "tool_response");
        let sound = live["audio"]["data"].as_str().unwrap_or_default();
        self.audio_bytes += STANDARD.decode(sound).map_or(0, |sound| sound.len() as u64);
        for said in [&content["turns"], &live["text"], results] {
            self.text_bytes += if said.is_null() { 0 } else { said.to_string().len() as u64 };
        }
        *member(content, "turnComplete", "turn_complete") == true
            || live["text"].is_string()
            || *member(live, "audioStreamEnd", "audio_stream_end") == true
            || results.is_object()
    }
}

/// Google reads both spellings, and its own client for Python writes the second.
fn member<'a>(object: &'a Value, camel: &str, snake: &str) -> &'a Value {
    object.get(camel).unwrap_or(&object[snake])
}

/// Google closes what it refuses.
async fn refuse<S>(socket: &mut WebSocketStream<S>, code: CloseCode, reason: &str) -> Option<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
    while let Some(Ok(_)) = socket.next().await {}
    Some(End::Done)
}

/// Sent as bytes, as Google does; what ends the session, if anything does.
async fn send<S>(socket: &mut WebSocketStream<S>, message: &Value) -> Option<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sent = socket.send(Message::Binary(message.to_string().into())).await;
    sent.is_err().then_some(End::ClientGone)
}
