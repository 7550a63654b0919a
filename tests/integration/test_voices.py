"""Speech and transcripts at providers with words of their own for them, by the official OpenAI client."""

import io
import json
import wave
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_model
from tests.harness.provider import Seen
from tests.harness.recorder import plain

ELEVEN, DEEPGRAM = "el-secret-key", "dg-secret-key"
ALICE = "Xb7hH8MSUJpSbSDYk0k2"


def wav(seconds: int) -> bytes:
    """Silence of 32,000 bytes a second."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000 * seconds))
    return made.getvalue()


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    """One that takes these keys alone, each where its provider wants it."""
    keys = ("--key", ELEVEN, "--key", DEEPGRAM)
    with MockProvider(tmp_path_factory.mktemp("voices"), arguments=keys) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(voices: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(provider: str, model: str, script: str = "", **more: Any) -> dict[str, Any]:
        base = f"{voices.url}/mock:{script}/v1" if script else f"{voices.url}/v1"
        key = {"elevenlabs": ELEVEN, "deepgram": DEEPGRAM}[provider]
        return {"provider": provider, "model": model, "base_url": base, "api_key": key, **more}

    broken = ["status=500", "body=html", "body=garbage", "body=truncated", "body=empty", "close_at_byte=100"]
    config = make_config(
        make_model("eleven", at("elevenlabs", "eleven_multilingual_v2")),
        make_model("own", at("elevenlabs", "eleven_v3", voices={"alloy": ALICE, "house": "h-1"})),
        make_model("scribe", at("elevenlabs", "scribe_v2")),
        make_model("aura", at("deepgram", "aura-2")),
        make_model("nova", at("deepgram", "nova-3", "events=2")),
        make_model("any", at("elevenlabs", "eleven_v3"), at("deepgram", "aura-2", order=1)),
        make_model("shut-e", at("elevenlabs", "eleven_v3", api_key="el-wrong-key")),
        make_model("shut-d", at("deepgram", "nova-3", api_key="dg-wrong-key")),
        *[make_model(f"speech {script}", at("deepgram", "aura-2", script)) for script in broken],
        *[make_model(f"text {script}", at("elevenlabs", "scribe_v2", script)) for script in broken],
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


def cost(gateway: Gateway, headers: Any) -> Decimal:
    (row,) = gateway.attempts_of(headers["x-request-id"])
    return Decimal(str(row["spend"]))


def last(voices: MockProvider) -> tuple[Seen, dict[str, list[str]]]:
    """The latest request, and its query."""
    seen = voices.requests()[-1]
    found: dict[str, list[str]] = {}
    for name, value in httpx.QueryParams(seen.query).multi_items():
        found.setdefault(name, []).append(value)
    return seen, found


def fields(seen: Seen) -> Any:
    assert seen.body is not None
    return plain(seen.body.encode(), seen.headers["content-type"])


def test_speech_at_elevenlabs(voices: MockProvider, gateway: Gateway, client: openai.OpenAI) -> None:
    spoken = client.audio.speech.with_raw_response.create(
        model="eleven", voice="marin", input="Good day, Zoë.", speed=2, instructions="Gently",
        extra_body={"voice_settings": {"stability": 0.5}, "seed": 7},
    )  # fmt: skip
    assert (spoken.headers["content-type"], spoken.content[:3]) == ("audio/mpeg", b"ID3")
    assert spoken.headers["x-ailink-dropped"] == "speed=1.2, instructions"
    seen, query = last(voices)
    assert (seen.method, seen.path) == ("POST", f"/v1/text-to-speech/{ALICE}")
    assert query == {"output_format": ["mp3_44100_128"]}
    assert seen.headers["xi-api-key"] == ELEVEN
    assert seen.json() == {
        "model_id": "eleven_multilingual_v2",
        "text": "Good day, Zoë.",
        "voice_settings": {"stability": 0.5, "speed": 1.2},
        "seed": 7,
    }
    assert cost(gateway, spoken.headers) == 14 * Decimal("0.00008")
    for wanted, got, kind in (
        ("opus", "opus_48000_64", "audio/ogg"),
        ("wav", "wav_24000", "audio/wav"),
        ("pcm", "pcm_24000", "audio/pcm"),
    ):
        spoken = client.audio.speech.with_raw_response.create(
            model="eleven", voice="v/1", input="x", response_format=wanted
        )  # type: ignore[call-overload]
        seen, query = last(voices)
        assert (spoken.headers["content-type"], query) == (kind, {"output_format": [got]})
        assert seen.path.endswith("/text-to-speech/v%2F1")


def test_speech_comes_as_it_is_made(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(model="eleven", voice="ash", input="x") as spoken:
        pieces = list(spoken.iter_bytes())
    assert sum(map(len, pieces)) == 4096


def test_names_of_voices_of_ones_own(voices: MockProvider, client: openai.OpenAI) -> None:
    for said, meant in (("alloy", ALICE), ("house", "h-1"), ("ash", "CwhRBWXzGAHq8TQ4Fs17")):
        client.audio.speech.create(model="own", voice=said, input="x")
        assert last(voices)[0].path == f"/v1/text-to-speech/{meant}"


def test_speech_at_deepgram(voices: MockProvider, gateway: Gateway, client: openai.OpenAI) -> None:
    spoken = client.audio.speech.with_raw_response.create(
        model="aura", voice="alloy", input="Good day", extra_body={"tag": ["a b", "c"], "model_": 1}
    )
    assert (spoken.headers["content-type"], spoken.content[:3]) == ("audio/mpeg", b"ID3")
    seen, query = last(voices)
    assert (seen.path, seen.json()) == ("/v1/speak", {"text": "Good day"})
    assert query == {"model": ["aura-2-thalia-en"], "encoding": ["mp3"], "tag": ["a b", "c"], "model_": ["1"]}
    assert seen.headers["authorization"] == f"Token {DEEPGRAM}"
    assert cost(gateway, spoken.headers) == 8 * Decimal("0.00003")
    wave_form = {"encoding": ["linear16"], "sample_rate": ["24000"]}
    for wanted, told, kind in (
        ("aac", {"encoding": ["aac"]}, "audio/aac"),
        ("flac", {"encoding": ["flac"]}, "audio/flac"),
        ("opus", {"encoding": ["opus"], "container": ["ogg"]}, "audio/ogg"),
        ("wav", wave_form | {"container": ["wav"]}, "audio/wav"),
        ("pcm", wave_form | {"container": ["none"]}, "audio/l16;rate=24000;channels=1"),
    ):
        spoken = client.audio.speech.with_raw_response.create(
            model="aura", voice="aura-2-luna-en", input="x", response_format=wanted
        )  # type: ignore[call-overload]
        assert spoken.headers["content-type"] == kind
        assert last(voices)[1] == {"model": ["aura-2-luna-en"], **told}


def test_transcripts_at_elevenlabs(voices: MockProvider, gateway: Gateway, client: openai.OpenAI) -> None:
    made = client.audio.transcriptions.with_raw_response.create(
        model="scribe", file=("a é.wav", wav(3)), language="de", temperature=0.5, prompt="Dr Who",
        extra_body={"diarize": True, "model_id": "dearer"},
    )  # fmt: skip
    said = made.parse()
    assert said.text
    assert said.usage.seconds == 3
    seen = last(voices)[0]
    assert (seen.path, seen.query) == ("/v1/speech-to-text", "")
    assert seen.headers["xi-api-key"] == ELEVEN
    assert set(made.headers["x-ailink-dropped"].split(", ")) == {"prompt", "model_id"}
    # ElevenLabs bills what the recording is long.
    assert cost(gateway, made.headers) == 3 * Decimal("0.0000611")
    small = client.audio.transcriptions.create(
        model="scribe", file=("b.mp3", b"ID3 sound"), response_format="verbose_json",
        language="de", timestamp_granularities=["word"],
    )  # fmt: skip
    assert fields(last(voices)[0]) == {"language_code": "de", "model_id": "scribe_v2", "file": "ID3 sound"}
    # What has no head plays until its last word, and no longer than its bytes can.
    assert (small.language, small.duration, small.segments) == ("de", 1.0, None)
    assert small.words is not None
    assert [word.word for word in small.words] == small.text.split()
    assert (small.words[1].start, small.words[1].end) == (0.2, 0.4)


def test_transcripts_at_deepgram(voices: MockProvider, gateway: Gateway, client: openai.OpenAI) -> None:
    sound = wav(3)
    made = client.audio.transcriptions.with_raw_response.create(
        model="nova", file=("a.wav", sound), temperature=0.5,
        extra_body={"keyterm": ["Zoë", "b"], "diarize": True},
    )  # fmt: skip
    text = made.parse().text
    seen, query = last(voices)
    assert (seen.path, seen.headers["content-type"]) == ("/mock:events=2/v1/listen", "audio/x-wav")
    assert seen.body_len == len(sound)
    assert seen.headers["authorization"] == f"Token {DEEPGRAM}"
    assert query == {
        "model": ["nova-3"],
        "detect_language": ["true"],
        "punctuate": ["true"],
        "utterances": ["true"],
        "keyterm": ["Zoë", "b"],
        "diarize": ["true"],
    }
    assert made.headers["x-ailink-dropped"] == "temperature"
    # 96,044 bytes are 3.001 s to the provider, who bills what it says.
    assert made.parse().usage.seconds == 4
    assert cost(gateway, made.headers) == 4 * Decimal("0.00007167")
    told = {
        wanted: client.audio.transcriptions.create(
            model="nova", file=("a.wav", sound), response_format=wanted, language="en"
        )
        for wanted in ("text", "srt", "vtt")
    }
    assert last(voices)[1]["language"] == ["en"]
    assert told == {
        "text": f"{text}\n",
        "srt": f"1\n00:00:00,000 --> 00:00:00,400\n{text}\n\n",
        "vtt": f"WEBVTT\n\n00:00:00.000 --> 00:00:00.400\n{text}\n\n",
    }
    full = client.audio.transcriptions.create(
        model="nova", file=("a.wav", sound), response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )  # fmt: skip
    assert full.segments is not None
    assert full.words is not None
    assert (full.language, full.duration) == ("en", len(sound) / 32_000)
    (piece,) = full.segments
    assert (piece.id, piece.start, piece.end, piece.text) == (0, 0.0, 0.4, text)
    assert [word.word for word in full.words] == text.split()


@pytest.mark.parametrize(
    ("model", "more", "says"),
    [
        ("eleven", {"response_format": "flac"}, "'flac' as 'response_format'. Supported: mp3, opus, pcm"),
        ("eleven", {"stream_format": "sse"}, "Supported: audio"),
        ("eleven", {"voice": ".."}, "Invalid 'voice'"),
        ("eleven", {"speed": "fast"}, "Invalid 'speed'"),
        # A voice of a dearer model.
        ("aura", {"voice": "3-luna-en"}, "does not support '3-luna-en' as 'voice'"),
        ("aura", {"callback": "http://x"}, "Wait for the answer"),
    ],
)
def test_what_cannot_be_spoken(
    voices: MockProvider, client: openai.OpenAI, model: str, more: dict[str, Any], says: str
) -> None:
    before = voices.mark()
    with pytest.raises(openai.BadRequestError, match=says):
        client.audio.speech.create(model=model, voice="alloy", input="x", extra_body=more)
    assert voices.mark() == before


@pytest.mark.parametrize(
    ("model", "more", "says"),
    [
        ("scribe", {"response_format": "srt"}, "Supported: json, text, verbose_json"),
        ("nova", {"response_format": "diarized_json"}, "Supported: json, text, verbose_json, srt, vtt"),
        ("nova", {"stream": True}, "Ask for the whole answer"),
        ("scribe", {"webhook": True}, "Wait for the answer"),
        ("scribe", {"source_url": "https://x"}, "Send the file"),
        ("nova", {"multichannel": True}, "one channel"),
    ],
)
def test_what_cannot_be_written_down(
    voices: MockProvider, client: openai.OpenAI, model: str, more: dict[str, Any], says: str
) -> None:
    before = voices.mark()
    with pytest.raises(openai.BadRequestError, match=says):
        client.audio.transcriptions.create(model=model, file=("a", b"x"), extra_body=more)
    assert voices.mark() == before


def test_no_file_no_request(voices: MockProvider, gateway: Gateway, key: Key) -> None:
    before = voices.mark()
    sent = {"model": (None, "nova"), "file": (None, "no file")}
    answer = gateway.http.post("/v1/audio/transcriptions", headers=key.bearer, files=sent)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    assert voices.mark() == before


def test_another_speaks_what_one_cannot(voices: MockProvider, client: openai.OpenAI) -> None:
    spoken = client.audio.speech.with_raw_response.create(
        model="any", voice="alloy", input="x", response_format="flac"
    )
    assert (spoken.headers["x-ailink-provider"], spoken.headers["content-type"]) == ("deepgram", "audio/flac")


def test_a_refused_credential_is_the_gateways(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as spoken:
        client.audio.speech.create(model="shut-e", voice="alloy", input="x")
    with pytest.raises(openai.AuthenticationError) as written:
        client.audio.transcriptions.create(model="shut-d", file=("a", b"x"))
    for refused, provider in ((spoken, "elevenlabs"), (written, "deepgram")):
        assert (refused.value.code, refused.value.status_code) == ("upstream_auth_failed", 401)
        assert f"Provider '{provider}' refuses the gateway's credential" in refused.value.message
        assert "wrong-key" not in refused.value.response.text


def test_what_a_provider_says_of_a_request_is_told(voices: MockProvider, client: openai.OpenAI) -> None:
    for model, provider in (("eleven", "elevenlabs"), ("aura", "deepgram")):
        voices.set_defaults("status=422;error_message=Too+long")
        try:
            with pytest.raises(openai.UnprocessableEntityError) as refused:
                client.audio.speech.create(model=model, voice="alloy", input="x")
        finally:
            voices.reset()
        assert "Too" in refused.value.message, provider


@pytest.mark.parametrize("script", ["status=500", "body=html", "body=empty"])
def test_sound_that_is_none(client: openai.OpenAI, script: str) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        client.audio.speech.create(model=f"speech {script}", voice="alloy", input="x")
    assert failed.value.status_code == (500 if script == "status=500" else 502)


@pytest.mark.parametrize(
    "script", ["status=500", "body=html", "body=garbage", "body=truncated", "body=empty"]
)
def test_transcripts_that_are_none(client: openai.OpenAI, script: str) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        client.audio.transcriptions.create(model=f"text {script}", file=("a", b"x"))
    assert failed.value.status_code == (500 if script == "status=500" else 502)
    assert "{garbage]" not in json.dumps(failed.value.response.text)
    assert ELEVEN not in failed.value.response.text


def test_answers_that_break_off(gateway: Gateway, key: Key, client: openai.OpenAI) -> None:
    """A transcript is read whole before anything of it is told; sound never ends as if it were whole."""
    with pytest.raises(openai.InternalServerError) as failed:
        client.audio.transcriptions.create(model="text close_at_byte=100", file=("a", b"x"))
    assert failed.value.status_code == 502
    sent = {"model": "speech close_at_byte=100", "voice": "alloy", "input": "four"}
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.http.post("/v1/audio/speech", headers=key.bearer, json=sent)


def test_a_provider_of_the_file_has_openais_words(
    provider: MockProvider, tmp_path: Path, gateway: Gateway
) -> None:
    """Who gives the row paths of his own has something that speaks OpenAI's format there."""
    own = {"deepgram": {"operations": {"audio_speech": "/audio/speech"}, "auth": {"scheme": "bearer"}}}
    place = {
        "provider": "deepgram",
        "model": "aura-2",
        "base_url": f"{provider.url}/v1",
        "api_key": "k",
    }
    with Gateway(tmp_path, make_config(make_model("m", place), providers=own)) as other:
        sent = {"model": "m", "voice": "alloy", "input": "x", "response_format": "flac"}
        answer = other.http.post("/v1/audio/speech", headers=other.mint().bearer, json=sent)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/flac")
