"""Requests in a provider's own words: rows that cannot be followed stop the start with the reason."""

import pytest

from ailink.config.deployments import PlacementError, place, provider_row
from ailink.config.schema import Config, Deployment, Provider
from ailink.providers import CatalogError, Registry
from ailink.providers.registry import plain, read_row
from ailink.snapshot import row_words

ROW = """\
id = "x"
title = "X"
base_url = "https://x.example/v1"
dialect = "openai"
env = ["X_API_KEY"]
stream_usage = "none"
pool_idle_ms = 4000

[auth]
scheme = "token"

[operations]
audio_speech = "/say/{voice}"
audio_transcriptions = "/hear"

[requests.audio_speech]
body = "json"

[requests.audio_speech.fields]
input = { to = "text" }
speed = { to = "settings.speed", max = 2 }
voice = { in = "path", require = true, words = { alloy = "a-1" } }

[requests.audio_speech.fields.response_format]
in = "query"
only = true
default = "mp3"
words = { mp3 = "mp3_1", wav = { box = "wav" } }

[requests.audio_transcriptions]
body = "file"
rest = "query"

[requests.audio_transcriptions.fields]
model = { in = "query" }
prompt = { drop = true }

[requests.audio_transcriptions.answer]
text = "/text"
"""


RULED = "[parameters.audio_speech]\nuser = { drop = true }\n[requests.audio_speech]"


def test_a_row() -> None:
    row = read_row(ROW.encode(), "x.toml")
    assert row.path_placeholders() == frozenset()
    assert plain(row)["requests"]["audio_transcriptions"]["fields"]["model"] == {"in": "query"}
    made = row_words.requests(row, {"alloy": "b-2", "house": "h"})
    fields = {field.name: field for field in made["audio_speech"].fields}
    assert fields["voice"].words == {"alloy": {"voice": "b-2"}, "house": {"voice": "h"}}
    assert fields["response_format"].words == {"mp3": {"response_format": "mp3_1"}, "wav": {"box": "wav"}}
    assert (fields["speed"].to, fields["speed"].max) == ("settings.speed", 2.0)
    heard = made["audio_transcriptions"]
    assert (heard.body, heard.answer and heard.answer.text) == ("file", "/text")


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('body = "json"', 'body = "xml"', "requests[...].body", "Invalid enum value"),
        ('body = "json"', 'body = "form"', "requests", "audio_speech: its body is `json`"),
        ('body = "file"', 'body = "json"', "requests", "audio_transcriptions: its body is `form` or `file`"),
        ('rest = "query"\n', "", "requests", 'has no place for others: `rest = "query"`'),
        ('text = "/text"', 'text = "text"', "requests[...].answer.text", "matching"),
        ('[requests.audio_transcriptions.answer]\ntext = "/text"\n', "", "requests", "where a transcript"),
        ('"/say/{voice}"', '"/say"', "requests", "audio_speech: its path does not name {voice}"),
        ('"/say/{voice}"', '"/say/{voice}/{up}"', "operations.audio_speech", "unknown placeholder {up}"),
        ("require = true, ", "", "requests", "audio_speech: voice: a path needs it"),
        ('to = "text" }', 'to = "text", in = "header" }', "requests[...].fields[...].in", "enum"),
        ('to = "text" }', 'to = "a.b.c" }', "requests[...].fields[...].to", "matching"),
        ('to = "text" }', 'to = "text", drop = true }', "requests", "input: `drop` stands alone"),
        ('to = "text" }', 'to = "text", require = true, default = "x" }', "requests", "exclude each other"),
        ('to = "text" }', 'to = "text", form = "x" }', "requests", "`form` has {value} in it, once"),
        ('to = "text" }', 'to = "text", like = "(" }', "requests", "`like` is no regular expression"),
        ('to = "text" }', 'to = "text", only = true }', "requests", "`only` goes with `words`"),
        ('default = "mp3"', 'default = "flac"', "requests", "its default is none of its words: mp3, wav"),
        ("max = 2 }", "max = 2, min = 3 }", "requests", "`min` is more than `max`"),
        ("max = 2 }", 'max = 2, words = { a = "b" } }', "requests", "numbers have no words"),
        ("speed = {", "voices = { }\nspeed = {", "", ""),
        ('to = "settings.speed"', 'to = "text"', "requests", "two fields go to `text`"),
        ('to = "settings.speed"', 'to = "a.b", in = "query"', "requests", "only a JSON body"),
        ('model = { in = "query" }', "model = { }", "requests", "model: a body that is a file has no place"),
        ('{ in = "query" }', '{ in = "query", default = "m" }', "requests", "model: is what the provider"),
        ("prompt = {", "response_format = {", "requests", "response_format: the gateway reads it itself"),
        ('audio_transcriptions = "/hear"', "", "requests", "audio_transcriptions: the row does not serve"),
        ("[requests.audio_speech]", RULED, "requests", "stands here alone, not in `parameters`"),
        ('audio_speech = "/say', 'rerank = "/say', "operations.rerank", "unknown placeholder {voice}"),
        ('scheme = "token"', 'scheme = "sigv4"\nidentity = "aws"', "requests", "what is signed"),
    ],
)  # fmt: skip
def test_a_bad_row_says_file_key_and_reason(old: str, new: str, key: str, words: str) -> None:
    assert old in ROW
    text = ROW.replace(old, new).encode()
    if not words:
        read_row(text, "x.toml")
        return
    with pytest.raises(CatalogError) as caught:
        read_row(text, "x.toml")
    assert (caught.value.file, caught.value.key) == ("x.toml", key), caught.value.reason
    assert words in caught.value.reason


def test_only_sound_has_words_of_its_own() -> None:
    row = ROW.replace('audio_speech = "/say/{voice}"', 'chat = "/chat"')
    row = row.replace("requests.audio_speech", "requests.chat")
    row = row.replace('voice = { in = "path", require = true, words = { alloy = "a-1" } }\n', "")
    with pytest.raises(CatalogError, match="only audio_speech and audio_transcriptions can be asked for"):
        read_row(row.encode(), "x.toml")


def test_voices_of_a_deployment() -> None:
    config, registry = Config(), Registry.builtin()
    fits = Deployment(provider="elevenlabs", model="m", voices={"a": "b"})
    placed = place(fits, config, registry, {"ELEVENLABS_API_KEY": "k"})
    assert placed.operations["audio_speech"].endswith("/{voice}")
    with pytest.raises(PlacementError, match="voices: provider `openai` takes names of voices as they are"):
        place(Deployment(provider="openai", model="m", voices={"a": "b"}), config, registry, {})


def test_paths_of_ones_own_are_asked_for_as_openais() -> None:
    own = Provider(operations={"audio_speech": "/say", "audio_transcriptions": "/listen"})
    row = provider_row("deepgram", Config(providers={"deepgram": own}), Registry.builtin())
    assert set(row.requests) == {"audio_transcriptions"}
