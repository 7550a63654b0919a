"""Every row of the catalogue, through the real process: what the provider would get, against a golden file.

`pytest tests/integration/test_providers.py --update-golden` writes the files anew; the diff is the review.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.harness import Gateway, Key, make_config, make_model
from tests.harness.listening import Call
from tests.harness.recorder import Recorder, plain

from ailink.providers import ProviderRow, Registry, rules
from ailink.providers.vocabulary import UPLOADS, Operation

GOLDEN = Path(__file__).parent / "golden" / "providers"
ROWS = {row.id: row for row in Registry.builtin()}
MODEL = "vendor/model-1"
SETTINGS = {"account": "acme", "project": "project-1", "region": "eu-west-1", "api_version": "2026-01-01"}
USUAL = {"host", "user-agent", "accept", "accept-encoding", "content-length", "x-ailink-attempt"}

PATHS: dict[Operation, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
    "moderations": "/v1/moderations",
    "images_generations": "/v1/images/generations",
    "images_edits": "/v1/images/edits",
    "images_variations": "/v1/images/variations",
    "audio_speech": "/v1/audio/speech",
    "audio_transcriptions": "/v1/audio/transcriptions",
    "audio_translations": "/v1/audio/translations",
    "rerank": "/v1/rerank",
    "responses": "/v1/responses",
    "responses_input_tokens": "/v1/responses/input_tokens",
    "fim": "/v1/fim/completions",
    "cohere_chat": "/v2/chat",
    "cohere_embed": "/v2/embed",
    "generate_content": "/v1beta/models/{model}:generateContent",
    "stream_generate_content": "/v1beta/models/{model}:streamGenerateContent",
    "gemini_count_tokens": "/v1beta/models/{model}:countTokens",
    "embed_content": "/v1beta/models/{model}:embedContent",
    "batch_embed_contents": "/v1beta/models/{model}:batchEmbedContents",
    "converse": "/model/{model}/converse",
    "converse_stream": "/model/{model}/converse-stream",
    "invoke_stream": "/model/{model}/invoke-with-response-stream",
}
STANDS_FOR: dict[Operation, tuple[Operation, str | None]] = {
    "voyage_rerank": ("rerank", None),
    "tei_rerank": ("rerank", None),
    "nim_ranking": ("rerank", None),
    "predict": ("embeddings", "text-embedding-005"),
    "invoke": ("embeddings", "cohere.embed-v4:0"),
    "vertex_count_tokens": ("gemini_count_tokens", None),
    "messages_stream": ("messages", None),
}
"""Shapes that no client asks for: the operation that comes to them, of which kind of model."""
HELLO = [{"role": "user", "content": "hello"}]
CONTENT = {"role": "user", "parts": [{"text": "hello"}]}
FILES: dict[Operation, str] = {"images_edits": "image", "images_variations": "image"}
BODIES: dict[Operation, dict[str, Any]] = {
    "chat": {
        "messages": HELLO,
        "max_completion_tokens": 64,
        "temperature": 2,
        "seed": 7,
        "user": "u-1",
        "tools": [],
    },
    "completions": {"prompt": "hello", "max_tokens": 64, "temperature": 2, "seed": 7, "user": "u-1"},
    "embeddings": {"input": ["hello"], "dimensions": 256, "encoding_format": "base64", "user": "u-1"},
    "messages": {"messages": HELLO, "max_tokens": 64, "temperature": 1, "top_k": 5},
    "count_tokens": {"messages": HELLO},
    "moderations": {"input": "hello"},
    "images_generations": {"prompt": "a cat", "n": 1, "size": "1024x1024", "response_format": "b64_json"},
    "images_edits": {"prompt": "a hat", "size": "1024x1024"},
    "images_variations": {"n": "2"},
    "audio_speech": {"input": "hello", "voice": "alloy", "response_format": "mp3"},
    "audio_transcriptions": {"language": "en", "temperature": "0"},
    "audio_translations": {"temperature": "0"},
    "responses": {"input": "hello", "instructions": "Be brief.", "max_output_tokens": 64, "store": False},
    "responses_input_tokens": {"input": "hello", "instructions": "Be brief."},
    "rerank": {"query": "cats", "documents": ["a cat", "a dog"], "top_n": 1},
    "cohere_chat": {"messages": HELLO, "max_tokens": 64, "k": 5},
    "cohere_embed": {"texts": ["hello"], "input_type": "search_query"},
    "generate_content": {"contents": [CONTENT], "generationConfig": {"temperature": 1}},
    "stream_generate_content": {"contents": [CONTENT]},
    "gemini_count_tokens": {"contents": [CONTENT]},
    "embed_content": {"content": CONTENT},
    "batch_embed_contents": {"requests": [{"model": "models/m", "content": CONTENT}]},
    "converse": {"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
    "converse_stream": {"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
    "invoke_stream": {"prompt": "hello", "max_gen_len": 64},
    "fim": {"prompt": "def f(", "suffix": "return x", "max_tokens": 64, "seed": 7},
}


class Setup(NamedTuple):
    gateway: Gateway
    key: Key
    recorder: Recorder


def deployment(row: ProviderRow, url: str) -> dict[str, Any]:
    """The row, but for the host."""
    base = (row.base_url or "https://host/v1").removeprefix("{mock}")
    path = re.sub(r"^https?://[^/]*", "", base)
    named = row.placeholders() - {"mock", "model"} - row.settings.keys()
    made = {"provider": row.id, "base_url": url + path, "model": MODEL} | {n: SETTINGS[n] for n in named}
    return made if row.auth.scheme == "none" else made | {"api_key": f"secret-of-{row.id}"}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with Recorder() as recorder:
        models = [make_model(row.id, deployment(row, recorder.url)) for row in ROWS.values()]
        models += [
            make_model(f"{row.id}/{operation}", {**deployment(row, recorder.url), "model": kind})
            for row in ROWS.values()
            for operation, (_, kind) in STANDS_FOR.items()
            if kind is not None and operation in row.operations
        ]
        with Gateway(tmp_path_factory.mktemp("gateway"), make_config(*models)) as gateway:
            yield Setup(gateway, gateway.mint(), recorder)


def ask(setup: Setup, row: ProviderRow, operation: Operation, **more: Any) -> tuple[Any, list[Call]]:
    """The gateway's answer, and what the provider got."""
    own = operation
    operation, kind = STANDS_FOR.get(operation, (operation, None))
    model = row.id if kind is None else f"{row.id}/{own}"
    path = PATHS[operation]
    named = {} if "{model}" in path else {"model": model}
    fields = {**named, **BODIES[operation], **more}
    if own == "messages_stream":
        fields["stream"] = True
    sent: dict[str, Any] = {"json": fields}
    if operation in UPLOADS:
        sent = {"data": fields, "files": {FILES.get(operation, "file"): ("f.bin", b"bytes")}}
    return setup.gateway.http.post(
        path.format(model=model), headers=setup.key.bearer, **sent
    ), setup.recorder.take()


def shown(row: ProviderRow, taken: list[Call], dropped: str | None) -> dict[str, Any]:
    """One request as it stands in the golden file."""
    assert len(taken) == 1, taken
    recorded = taken[0]
    headers = {
        name: value.replace(f"secret-of-{row.id}", "{credential}")
        for name, value in sorted(recorded.headers.items())
        if name not in USUAL
    }
    content_type = headers.pop("content-type")
    found = {
        "line": f"{recorded.method} {recorded.path}".replace(f"secret-of-{row.id}", "{credential}"),
        "headers": headers,
        "body": plain(recorded.body, content_type),
    }
    if not content_type.startswith(("multipart/", "application/json")):
        found["content_type"] = content_type
    return found if dropped is None else found | {"dropped": dropped}


def observed(setup: Setup, row: ProviderRow) -> dict[str, Any]:
    """Every operation of a row, streamed too where the usage must be asked for, and every refusal."""
    requests: dict[str, Any] = {}
    refused: dict[str, str] = {}
    # Sessions begin with an upgrade: test_realtime.py, test_live.py.
    for operation in (name for name in row.operations if name not in {"realtime", "bidi_generate_content"}):
        table = rules.of(row.parameters, operation)
        rejected = {name: rule for name, rule in table.items() if rule.reject is not None}
        clean = {name: None for name in rejected if name in BODIES[operation]}
        answer, taken = ask(setup, row, operation, **clean)
        told = answer.json()
        assert (answer.status_code, told.get("error", told)["message"]) == (400, "recorded"), answer.text
        requests[operation] = shown(row, taken, answer.headers.get("x-ailink-dropped"))
        for name in rejected:
            answer, taken = ask(setup, row, operation, **(clean | {name: 1}))
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"], taken) == (
                400,
                "unsupported_parameter",
                name,
                [],
            )
            refused[f"{operation}.{name}"] = error["message"]
    if "chat" in row.operations:
        answer, taken = ask(setup, row, "chat", **clean_stream(row))
        requests["chat, streamed"] = shown(row, taken, answer.headers.get("x-ailink-dropped"))
    found: dict[str, Any] = {"base_url": row.base_url, "requests": requests}
    return found | {"refused": refused} if refused else found


def clean_stream(row: ProviderRow) -> dict[str, Any]:
    table = rules.of(row.parameters, "chat")
    rejected = {name: None for name, rule in table.items() if rule.reject is not None}
    return {"stream": True, "stream_options": {"include_usage": False}, **rejected}


def text_of(found: dict[str, Any]) -> str:
    """One line per request, so that a change reads as a diff."""

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = [f' "base_url": {compact(found["base_url"])},', ' "requests": {']
    lines.append(",\n".join(f"  {compact(name)}: {compact(row)}" for name, row in found["requests"].items()))
    lines.append(" }" if "refused" not in found else ' },\n "refused": {')
    if "refused" in found:
        lines.append(
            ",\n".join(f"  {compact(name)}: {compact(text)}" for name, text in found["refused"].items())
        )
        lines.append(" }")
    return "{\n" + "\n".join(lines) + "\n}\n"


@pytest.mark.parametrize("name", ROWS)
def test_what_a_provider_gets(setup: Setup, name: str, request: pytest.FixtureRequest) -> None:
    found = observed(setup, ROWS[name])
    file = GOLDEN / f"{name}.json"
    if request.config.getoption("--update-golden"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text_of(found))
    assert found == json.loads(file.read_text())


def test_every_file_has_its_row() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(ROWS)
