"""Speech, transcripts and edited pictures at models of Google, by the official OpenAI client."""

import base64
import io
import wave
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.harness import Double, Gateway, Key, make_config, make_model

SAMPLES = b"\x01\x02" * 480
AUDIO = [{"modality": "AUDIO", "tokenCount": 40}]
TTS = "/v1beta/models/gemini-2.5-flash-preview-tts:generateContent"
TEXT = "/v1beta/models/gemini-2.5-flash:generateContent"
IMAGE = "/v1beta/models/gemini-2.5-flash-image:generateContent"
PRICE = {
    "input_per_million": 1,
    "output_per_million": 2,
    "audio_input_per_million": 3,
    "audio_output_per_million": 10,
}


def answer(part: dict[str, Any], **counts: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [part]}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": counts}


@pytest.fixture(scope="module")
def google() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(google: Double, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(model: str, provider: str = "gemini") -> dict[str, Any]:
        return {"provider": provider, "base_url": google.url, "api_key": "AIza", "model": model}

    config = make_config(
        make_model("voice", at("gemini-2.5-flash-preview-tts"), price=PRICE),
        make_model("ears", at("gemini-2.5-flash"), price=PRICE),
        make_model("brush", at("gemini-2.5-flash-image"), price=PRICE),
        make_model("claude", at("claude", "anthropic")),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as made:
        yield made


def cost(gateway: Gateway, headers: Any) -> float:
    (row,) = gateway.attempts_of(headers["x-request-id"])
    return float(row["spend"])


def test_speech(google: Double, gateway: Gateway, client: openai.OpenAI) -> None:
    sound = {"mimeType": "audio/L16;codec=pcm;rate=16000", "data": base64.b64encode(SAMPLES).decode()}
    google.answers[TTS] = answer(
        {"inlineData": sound}, promptTokenCount=5, candidatesTokenCount=40, candidatesTokensDetails=AUDIO
    )
    google.take()
    spoken = client.audio.speech.with_raw_response.create(
        model="voice", voice="alloy", input="hello", response_format="wav", instructions="Gently"
    )
    assert spoken.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(spoken.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.readframes(10_000) == SAMPLES
    (asked,) = google.take()
    assert asked.headers["content-type"] == "application/json"
    assert asked.body["contents"][0]["parts"] == [{"text": "Gently:\n\nhello"}]
    assert asked.body["generationConfig"]["responseModalities"] == ["AUDIO"]
    assert cost(gateway, spoken.headers) == pytest.approx((5 * 1 + 40 * 10) / 10**6)
    plain = client.audio.speech.create(model="voice", voice="Kore", input="x", response_format="pcm")
    assert plain.content == SAMPLES
    unsaid = client.audio.speech.with_raw_response.create(model="voice", voice="Kore", input="x")
    assert unsaid.headers["x-ailink-dropped"] == "response_format"
    for more in (
        {"response_format": "mp3"},
        {"speed": 2.0},
        {"response_format": "wav", "stream_format": "sse"},
    ):
        with pytest.raises(openai.BadRequestError, match="Provider 'gemini' does not support"):
            client.audio.speech.create(model="voice", voice="Kore", input="x", **more)  # type: ignore[arg-type]


def test_transcripts(google: Double, gateway: Gateway, key: Key, client: openai.OpenAI) -> None:
    google.answers[TEXT] = answer(
        {"text": " Good day. "},
        promptTokenCount=60,
        promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 50}, {"modality": "TEXT", "tokenCount": 10}],
        candidatesTokenCount=4,
    )
    google.take()
    raw = client.audio.transcriptions.with_raw_response.create(
        model="ears", file=("a.mp3", b"ID3 sound"), language="en", prompt="Dr Who", temperature=0.5
    )
    made = raw.parse()
    assert (made.text, made.usage.total_tokens) == ("Good day.", 64)
    (asked,) = google.take()
    sound, text = asked.body["contents"][0]["parts"]
    assert base64.b64decode(sound["inlineData"]["data"]) == b"ID3 sound"
    assert sound["inlineData"]["mimeType"] == "audio/mpeg"
    assert "'en'" in text["text"]
    assert "Dr Who" in text["text"]
    assert asked.body["generationConfig"]["temperature"] == 0.5
    assert cost(gateway, raw.headers) == pytest.approx((10 * 1 + 50 * 3 + 4 * 2) / 10**6)
    plain = client.audio.transcriptions.create(model="ears", file=("a.wav", b"RIFF"), response_format="text")
    assert plain == "Good day.\n"
    translated = gateway.http.post(
        "/v1/audio/translations",
        data={"model": "ears"},
        files={"file": ("a.wav", b"RIFF")},
        headers=key.bearer,
    )
    assert translated.json()["text"] == "Good day."
    assert "in English" in google.take()[-1].body["contents"][0]["parts"][1]["text"]
    for wanted in ("srt", "verbose_json"):
        with pytest.raises(openai.BadRequestError, match="Ask for json or text"):
            client.audio.transcriptions.create(model="ears", file=("a", b"x"), response_format=wanted)  # type: ignore[call-overload]


def test_pictures_are_changed(google: Double, gateway: Gateway, client: openai.OpenAI) -> None:
    picture = {"mimeType": "image/png", "data": "iVBORw0KGgo="}
    google.answers[IMAGE] = answer({"inlineData": picture}, promptTokenCount=300, candidatesTokenCount=1290)
    google.take()
    made = client.images.edit(
        model="brush", image=[("a.png", b"\x89PNG one"), ("b.png", b"\x89PNG two")], prompt="Add a hat"
    )
    assert made.data is not None
    assert made.data[0].b64_json == picture["data"]
    (asked,) = google.take()
    first, second, text = asked.body["contents"][0]["parts"]
    assert base64.b64decode(first["inlineData"]["data"]) == b"\x89PNG one"
    assert second["inlineData"]["mimeType"] == "image/png"
    assert text == {"text": "Add a hat"}
    with pytest.raises(openai.BadRequestError, match="masks"):
        client.images.edit(model="brush", image=("a", b"x"), mask=("m", b"x"), prompt="p")
    with pytest.raises(openai.BadRequestError, match="several images"):
        client.images.edit(model="brush", image=("a", b"x"), prompt="p", n=2)


@pytest.mark.parametrize(
    "spoilt",
    ["<html>", {}, {"candidates": []}, {"candidates": [{"finishReason": "SAFETY"}]}, [1]],
    ids=["html", "empty", "none", "blocked", "list"],
)
def test_spoilt_answers_are_502(google: Double, client: openai.OpenAI, spoilt: Any) -> None:
    google.answers[TTS] = google.answers[TEXT] = google.answers[IMAGE] = spoilt
    for ask in (
        lambda: client.audio.speech.create(model="voice", voice="Kore", input="x", response_format="wav"),
        lambda: client.audio.transcriptions.create(model="ears", file=("a", b"x")),
        lambda: client.images.edit(model="brush", image=("a", b"x"), prompt="p"),
    ):
        with pytest.raises(openai.APIStatusError) as failed:
            ask()
        assert failed.value.status_code == 502


def test_what_no_deployment_can_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.audio.speech.create(model="claude", voice="Kore", input="x")
    assert refused.value.status_code in (400, 404)
    with pytest.raises(openai.APIStatusError):
        client.audio.transcriptions.create(model="voice", file=("a", b"x"))
