"""Providers written in Python, reached like any other: answers, streams, errors, hanging, reloading."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI
from tests.harness import Gateway, Key, chat, events_of, make_config, make_model, until
from tests.harness.config import write_config

ROOT = Path(__file__).parents[2]
MODULE = """
import asyncio, time
from pathlib import Path
from ailink.plugins import Provider, ProviderError

class Mixed(Provider):
    async def chat(self, request):
        what = request["model"]
        if what == "raises":
            raise KeyError("secret detail")
        if what == "busy":
            raise ProviderError(429, "Too much.", code="slow_down")
        if what == "hangs":
            await asyncio.sleep(3600)
        if what == "nonsense":
            return object()
        message = {"role": "assistant", "content": "whole"}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16},
        }

    async def chat_stream(self, request):
        try:
            yield "one "
            if request["model"] == "raises":
                raise KeyError("secret detail")
            if request["model"] == "hangs":
                await asyncio.sleep(3600)
            yield {"choices": [{"index": 0, "delta": {"content": "two"}, "finish_reason": "stop"}]}
        finally:
            Path(self.options["note"]).write_text("closed")

    async def embeddings(self, request):
        row = {"object": "embedding", "index": 0, "embedding": [0.5]}
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return {"object": "list", "data": [row], "model": "m", "usage": usage}

class Blocking(Provider):
    async def chat(self, request):
        time.sleep(3600)

class Unmade(Provider):
    def __init__(self, options):
        raise ValueError("no such place")
"""
PRICE = {"input_per_million": 1, "output_per_million": 2}
TIMEOUTS = {"first_byte": "400ms", "idle": "400ms", "total": "5s"}


def configured(note: Path, mark: str = "!!", **providers: Any) -> Any:
    def at(provider: str, model: str = "any") -> Any:
        # Who answers is given his time on a busy machine.
        timeouts = {"timeouts": TIMEOUTS} if model == "hangs" or provider == "blocking" else {}
        return {"provider": provider, "model": model, "price": PRICE, **timeouts}

    return make_config(
        make_model("shout", at("loud")),
        *(make_model(name, at("mixed", name)) for name in ("good", "raises", "busy", "hangs", "nonsense")),
        make_model("blocks", at("blocking")),
        make_model("rescued", at("mixed", "raises"), fallbacks=["shout"]),
        providers={
            "loud": {"plugin": "shouting:Shouting", "options": {"mark": mark}},
            "mixed": {"plugin": "mixed:Mixed", "options": {"note": str(note)}},
            "blocking": {"plugin": "mixed:Blocking"},
            **providers,
        },
    )


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("note") / "note"


@pytest.fixture(scope="module")
def gateway(note: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    shutil.copy(ROOT / "docs/examples/shouting.py", directory)
    (directory / "mixed.py").write_text(MODULE)
    with Gateway(directory, configured(note)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def test_official_clients(gateway: Gateway, key: Key) -> None:
    client = OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0)
    said: Any = [{"role": "user", "content": "hello there"}]
    answer = client.chat.completions.create(model="shout", messages=said)
    assert answer.choices[0].message.content == "HELLO THERE!!"
    assert answer.choices[0].finish_reason == "stop"
    stream = client.chat.completions.create(model="shout", messages=said, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == "HELLO THERE!! "
    assert client.embeddings.create(model="good", input="x", encoding_format="float").data[0].embedding == [
        0.5
    ]
    other = Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0)
    told = other.messages.create(model="shout", max_tokens=9, messages=said)
    assert told.content[0].type == "text"
    assert told.content[0].text == "HELLO THERE!!"


def test_it_is_accounted(gateway: Gateway, key: Key) -> None:
    for model, source in (("good", "reported"), ("shout", "estimated")):
        answer = gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer)
        assert answer.status_code == 200, answer.text
        row = gateway.attempts_of(answer.headers["x-request-id"])[0]
        assert row["source"] == source
        assert float(row["spend"]) > 0
    assert answer.headers["x-ailink-provider"] == "loud"


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("raises", 502, "plugin_failed"),
        ("nonsense", 502, "plugin_failed"),
        ("busy", 429, "slow_down"),
        ("hangs", 504, "upstream_timeout"),
        ("blocks", 504, "upstream_timeout"),
    ],
)
def test_failures(gateway: Gateway, key: Key, model: str, status: int, code: str) -> None:
    answer = gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert "secret detail" not in answer.text
    # Nothing else is held up.
    assert gateway.http.post("/v1/chat/completions", json=chat("shout"), headers=key.bearer).is_success


def test_what_is_wrong_with_the_request(gateway: Gateway, key: Key) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    answer = gateway.http.post(
        "/v1/chat/completions", json={"model": "shout", "messages": parts}, headers=key.bearer
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_text")


def test_a_fallback_takes_over(gateway: Gateway, key: Key) -> None:
    answer = gateway.http.post("/v1/chat/completions", json=chat("rescued"), headers=key.bearer)
    assert answer.json()["choices"][0]["message"]["content"] == "HELLO!!"


@pytest.mark.parametrize("model", ["raises", "hangs"])
def test_streams_that_break(gateway: Gateway, key: Key, note: Path, model: str) -> None:
    note.unlink(missing_ok=True)
    answer = gateway.http.post("/v1/chat/completions", json=chat(model, stream=True), headers=key.bearer)
    assert answer.status_code == 200
    events = events_of(answer.content)
    assert '"one "' in events[0].data
    assert any('"error"' in event.data for event in events)
    assert "secret detail" not in answer.text
    # The iterator is closed, whoever ended it.
    until(note.exists, "the iterator is closed")


def test_a_reload(gateway: Gateway, key: Key, note: Path) -> None:
    gateway.reconfigure(configured(note, mark="?"))
    answer = gateway.http.post("/v1/chat/completions", json=chat("shout"), headers=key.bearer)
    assert answer.json()["choices"][0]["message"]["content"] == "HELLO?"
    for spec in ("nowhere:Class", "mixed:Nothing", "mixed:Path", "mixed:Unmade"):
        write_config(gateway.file, configured(note, bad={"plugin": spec}))
        until(lambda spec=spec: spec in str(gateway.details()["errors"]), f"{spec} is refused")
        answer = gateway.http.post("/v1/chat/completions", json=chat("shout"), headers=key.bearer)
        assert answer.json()["choices"][0]["message"]["content"] == "HELLO?"
    write_config(gateway.file, configured(note))
    until(lambda: gateway.details()["errors"] == [], "the configuration is good again")
    answer = gateway.http.post("/v1/chat/completions", json=chat("shout"), headers=key.bearer)
    assert answer.json()["choices"][0]["message"]["content"] == "HELLO!!"
