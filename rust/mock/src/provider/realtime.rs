//! OpenAI's Realtime over a WebSocket: one session, whose responses follow the script of the model in the query.
//!
//! A token of sound is 4,800 bytes of what was appended (100 ms of 24 kHz, 16 bit); text counts as everywhere. Written by
//! hand on a connection that hyper gave up.

use std::os::fd::AsFd;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answer::{Answer, Usage};
use super::errors::{Dialect, Failure};
use super::live;
use super::plan::{Asked, Plan, check_caller, query_script};
use super::raw::reset_on_close;
use super::requests::End;
use super::script::{CutAt, CutKind, Script, UsageMode, percent_decode};
use super::state::{Exchange, Shared};
use super::text::Speech;

const AUDIO_TOKEN: u64 = 4_800;

/// Does this request ask for a session?
pub fn is_asked(path: &str, headers: &HeaderMap) -> bool {
    (path.ends_with("/realtime") || live::is_path(path))
        && headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The script of a session, or the plan of its refusal.
pub fn plan(shared: &Shared, asked: &Asked<'_>) -> Result<(Script, String), Box<Plan>> {
    let pairs = || asked.query.into_iter().flat_map(|query| query.split('&'));
    let named = pairs().find_map(|pair| pair.strip_prefix("model=")).map(percent_decode).unwrap_or_default();
    let (model, model_script) = named.split_once('?').map_or((&*named, None), |(name, script)| (name, Some(script)));
    let mut script = Script::clone(&shared.defaults());
    let refused = |answer: Answer, script: Script| {
        Box::new(Plan { script, answer, model: model.to_owned(), dialect: Dialect::OpenAi })
    };
    for carrier in [model_script, query_script(asked.query)].into_iter().flatten() {
        if let Err(error) = script.apply(carrier) {
            let answer = Failure::bad_request(error.to_string()).answer(Dialect::OpenAi);
            return Err(refused(answer, Script::default()));
        }
    }
    if let Err(failure) = check_caller(shared, Dialect::OpenAi, asked) {
        return Err(refused(failure.answer(Dialect::OpenAi), script));
    }
    if let Some(status) = script.status.filter(|status| *status >= 400) {
        let answer = Failure::scripted(Dialect::OpenAi, status, &script).answer(Dialect::OpenAi);
        return Err(refused(answer, script));
    }
    Ok((script, model.to_owned()))
}

/// A session that begins when its connection is free.
pub struct Session {
    pub script: Script,
    pub model: String,
    pub key: Option<HeaderValue>,
    pub protocol: Option<HeaderValue>,
    /// It is one of Google's Live API.
    pub google: bool,
    pub exchange: Box<Exchange>,
    pub random: fastrand::Rng,
}

/// What the client has told so far.
#[derive(Default)]
struct Told {
    session: Value,
    text_bytes: u64,
    audio_bytes: u64,
    responses: u64,
    /// Sound since the last commit.
    sound: Vec<u8>,
}

impl Session {
    pub fn new(
        (path, headers): (&str, &HeaderMap),
        script: Script,
        model: String,
        exchange: Box<Exchange>,
        random: fastrand::Rng,
    ) -> Self {
        let protocol = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|offered| offered.to_str().ok());
        let protocol = protocol.and_then(|offered| HeaderValue::from_str(offered.split(',').next()?.trim()).ok());
        let google = live::is_path(path);
        Self { script, model, key: headers.get(SEC_WEBSOCKET_KEY).cloned(), protocol, google, exchange, random }
    }

    /// Agrees to the upgrade and holds the session to its end.
    pub async fn run<S>(mut self, mut io: S, read: Bytes)
    where
        S: AsyncRead + AsyncWrite + AsFd + Unpin,
    {
        let key = self.key.as_ref().map_or(b"".as_slice(), |key| key.as_bytes());
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n",
            derive_accept_key(key)
        )
        .into_bytes();
        if let Some(protocol) = &self.protocol {
            head.extend_from_slice(b"sec-websocket-protocol: ");
            head.extend_from_slice(protocol.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        if io.write_all(&head).await.is_err() {
            return;
        }
        self.exchange.status = 101;
        let mut socket = WebSocketStream::from_partially_read(&mut io, read.to_vec(), Role::Server, None).await;
        let end = if self.google { self.converse(&mut socket).await } else { self.talk(&mut socket).await };
        drop(socket);
        if end == End::Reset {
            reset_on_close(&io);
        }
        self.exchange.finish(end);
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&mut self, socket: &mut WebSocketStream<S>) -> End {
        let id = format!("sess_mock{:08x}", self.exchange.number);
        let session = json!({"type": "realtime", "object": "realtime.session", "id": id, "model": self.model,
            "output_modalities": ["text"]});
        let mut told = Told { session: session.clone(), ..Told::default() };
        if send(socket, json!({"type": "session.created", "session": session})).await.is_none() {
            return End::ClientGone;
        }
        loop {
            let text = match socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) => {
                    while let Some(Ok(_)) = socket.next().await {}
                    return End::Done;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return End::ClientGone,
            };
            let Ok(event) = serde_json::from_str::<Value>(&text) else {
                if send(socket, error("The event is not valid JSON.")).await.is_none() {
                    return End::ClientGone;
                }
                continue;
            };
            if let Some(end) = self.answer(socket, &mut told, &event).await {
                return end;
            }
        }
    }

    /// Answers one event of the client; what ends the session, if anything does.
    async fn answer<S>(&mut self, socket: &mut WebSocketStream<S>, told: &mut Told, event: &Value) -> Option<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = match event["type"].as_str().unwrap_or_default() {
            "session.update" => {
                if event["session"]["model"].as_str().is_some_and(|model| model.split('?').next() != Some(&self.model))
                {
                    error("The model of a session cannot change.")
                } else {
                    for (name, value) in event["session"].as_object().into_iter().flatten() {
                        told.session[name] = value.clone();
                    }
                    json!({"type": "session.updated", "session": told.session})
                }
            }
            "conversation.item.create" => {
                told.text_bytes += event["item"].to_string().len() as u64;
                json!({"type": "conversation.item.added", "previous_item_id": null, "item": event["item"]})
            }
            "input_audio_buffer.append" => {
                let sound = STANDARD.decode(event["audio"].as_str().unwrap_or_default()).unwrap_or_default();
                told.audio_bytes += sound.len() as u64;
                told.sound.extend_from_slice(&sound);
                return None;
            }
            "input_audio_buffer.commit" => return commit(socket, told).await,
            "response.create" => return self.respond(socket, told).await,
            other => error(&format!("Unknown event '{other}'.")),
        };
        send(socket, answer).await.map_or(Some(End::ClientGone), |()| None)
    }

    async fn respond<S>(&mut self, socket: &mut WebSocketStream<S>, told: &mut Told) -> Option<End>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        told.responses += 1;
        let sound = told.session["output_modalities"] == json!(["audio"]);
        let speech = Speech::plan(&self.script, None, None);
        let id = format!("resp_mock{:08x}_{}", self.exchange.number, told.responses);
        let place = json!({"response_id": id, "item_id": "item_mock", "output_index": 0, "content_index": 0});
        let begun = json!({"type": "response.created",
            "response": {"id": id, "object": "realtime.response", "status": "in_progress", "output": [], "usage": null}});
        if send(socket, begun).await.is_none() {
            return Some(End::ClientGone);
        }
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
                let wait = tokio::time::sleep(gap.sample(&mut self.random));
                tokio::select! {
                    () = wait => {}
                    // Whoever talks into an answer is not listened to; whoever leaves is noticed.
                    gone = async { while let Some(Ok(message)) = socket.next().await { if message.is_close() { break } } } => {
                        let () = gone;
                        return Some(End::ClientGone);
                    }
                }
            }
            let piece = speech.pieces.get(number);
            let mut events = Vec::new();
            if sound {
                events.push(with(&place, "response.output_audio.delta", &STANDARD.encode(piece.repeat(64))));
                events.push(with(&place, "response.output_audio_transcript.delta", piece));
            } else {
                events.push(with(&place, "response.output_text.delta", piece));
            }
            for event in events {
                if send(socket, event).await.is_none() {
                    return Some(End::ClientGone);
                }
            }
            self.exchange.events_out += 1;
        }
        let usage = self.usage(told, speech.tokens, sound);
        let text = speech.pieces.joined();
        let content = if sound {
            json!({"type": "output_audio", "transcript": text})
        } else {
            json!({"type": "output_text", "text": text})
        };
        let done = json!({"type": "response.done", "response": {"id": id, "object": "realtime.response", "status": "completed",
            "output": [{"id": "item_mock", "object": "realtime.item", "type": "message", "status": "completed", "role": "assistant", "content": [content]}],
            "usage": usage}});
        send(socket, done).await.map_or(Some(End::ClientGone), |()| None)
    }

    /// What a response used; also what the journal will say of the session.
    fn usage(&mut self, told: &Told, output: u64, sound: bool) -> Value {
        let script = &self.script;
        let audio = told.audio_bytes.div_ceil(AUDIO_TOKEN);
        let input = script.tokens.input.unwrap_or(told.text_bytes.div_ceil(4) + audio);
        let output = script.tokens.output.unwrap_or(output);
        let cached = script.tokens.cached;
        let total = &mut self.exchange.usage;
        *total = Usage {
            input: total.input + input,
            output: total.output + output,
            cached: total.cached + cached,
            told: true,
            ..*total
        };
        if script.usage == UsageMode::None {
            return Value::Null;
        }
        let audio_out = if sound { output } else { 0 };
        json!({
            "total_tokens": input + output, "input_tokens": input, "output_tokens": output,
            "input_token_details": {"text_tokens": input - audio.min(input), "audio_tokens": audio.min(input), "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0}},
            "output_token_details": {"text_tokens": output - audio_out, "audio_tokens": audio_out},
        })
    }
}

/// What was appended is an item; where the session asks for it, its words are told: sound that is text speaks it.
async fn commit<S>(socket: &mut WebSocketStream<S>, told: &mut Told) -> Option<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sound = std::mem::take(&mut told.sound);
    let mut events =
        vec![json!({"type": "input_audio_buffer.committed", "previous_item_id": null, "item_id": "item_mock"})];
    if told.session["audio"]["input"]["transcription"].is_object() {
        let words = String::from_utf8(sound).unwrap_or_default();
        let place = json!({"item_id": "item_said", "content_index": 0});
        let kind = "conversation.item.input_audio_transcription";
        let (first, second) = words.split_at(words.char_indices().nth(words.chars().count() / 2).map_or(0, |at| at.0));
        for part in [first, second] {
            events.push(with(&place, &format!("{kind}.delta"), part));
        }
        let mut whole = place;
        whole["type"] = json!(format!("{kind}.completed"));
        whole["transcript"] = json!(words);
        events.push(whole);
    }
    for event in events {
        if send(socket, event).await.is_none() {
            return Some(End::ClientGone);
        }
    }
    None
}

fn with(place: &Value, kind: &str, delta: &str) -> Value {
    let mut event = place.clone();
    event["type"] = json!(kind);
    event["delta"] = json!(delta);
    event
}

fn error(message: &str) -> Value {
    json!({"type": "error", "error": {"type": "invalid_request_error", "code": null, "message": message, "param": null}})
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, mut event: Value) -> Option<()> {
    event["event_id"] = json!(format!("event_{:016x}", fastrand::u64(..)));
    socket.send(Message::text(event.to_string())).await.ok()
}
