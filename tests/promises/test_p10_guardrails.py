"""P10: guardrails cannot be split around. A text is cut into events at every place, events into packets
elsewhere; what a client gets must not depend on it, and the secret must never be in it.
"""

import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import NamedTuple

import pytest
from tests.harness import Gateway, Key, make_config, make_deployment, make_model
from tests.harness.process import free_port
from tests.promises.replay import Answer, Replay
from tests.promises.wire import Http1, encoded

EMAIL = "jane.doe@example.org"
TEXTS = {
    f"write to {EMAIL} today": "write to [EMAIL] today",
    "to jane\u200b.doe@\uff45xample.org, ok": "to [EMAIL], ok",
    f"{EMAIL}": "[EMAIL]",
    f'{{"to": "{EMAIL}"}}': '{"to": "[EMAIL]"}',
}
PLACES = ["content", "reasoning_content", "arguments", "second choice", "anthropic text", "anthropic json"]


def chunk(place: str, text: str) -> bytes:
    """One event with a part of the text."""
    if place.startswith("anthropic"):
        kind, member = (
            ("text_delta", "text") if place.endswith("text") else ("input_json_delta", "partial_json")
        )
        data = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: text}}
        return b"event: content_block_delta\ndata: " + json.dumps(data).encode() + b"\n\n"
    delta: dict[str, object] = {"content": text}
    if place == "reasoning_content":
        delta = {"reasoning_content": text}
    if place == "arguments":
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
    index = 1 if place == "second choice" else 0
    data = {"id": "c", "object": "chat.completion.chunk", "choices": [{"delta": delta, "index": index}]}
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def stream(place: str, parts: Iterable[str]) -> bytes:
    """A whole stream that says the text in these parts."""
    middle = [chunk(place, part) for part in parts]
    if place.startswith("anthropic"):
        start = (
            b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
        )
        end = (
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
            b'"usage":{"output_tokens":3}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        )
        return b"".join([start, *middle, end])
    if place == "second choice":
        # Another text grows at the same time.
        middle = [
            event
            for pair in zip(middle, itertools.repeat(chunk("content", "@")), strict=False)
            for event in pair
        ]
    return b"".join([*middle, b"data: [DONE]\n\n"])


def said(place: str, body: bytes) -> str:
    """The text that a client puts together."""
    out = ""
    for line in body.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        if place.startswith("anthropic"):
            delta = event.get("delta", {})
            out += delta.get("text", "") + delta.get("partial_json", "")
            continue
        for choice in event["choices"]:
            delta = choice["delta"]
            if choice["index"] == (1 if place == "second choice" else 0):
                calls = delta.get("tool_calls", [{"function": {"arguments": ""}}])
                out += (
                    delta.get("content", "")
                    + delta.get("reasoning_content", "")
                    + calls[0]["function"]["arguments"]
                )
    return out


class Setup(NamedTuple):
    gateway: Gateway
    replay: Replay
    key: Key

    async def ask(self, client: Http1, place: str, model: str, answer: Answer) -> bytes:
        dialect = "anthropic" if place.startswith("anthropic") else "openai"
        path = "/v1/messages" if dialect == "anthropic" else "/v1/chat/completions"
        body = {
            "model": f"{dialect}-{model}",
            "max_tokens": 9,
            "stream": True,
            "messages": [{"role": "user", "content": "hi"}],
        }
        await client.post(path, encoded(body), {**self.key.bearer, **self.replay.add(answer)})
        assert await client.head() == 200
        return await client.rest()


@pytest.fixture(scope="module")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_port: int) -> Iterator[Gateway]:
    upstream = f"http://127.0.0.1:{upstream_port}"
    rule = {"presets": ["email"], "scan": ["output"]}
    models = [
        make_model(
            f"{dialect}-{action}-{mode}",
            make_deployment(upstream, dialect=dialect),
            guardrails=[f"{action}-{mode}"],
        )
        for action in ("redact", "block")
        for mode in ("window", "hold")
        for dialect in ("openai", "anthropic")
    ]
    rules = [
        {"name": f"{action}-{mode}", "action": action, "stream": mode, **rule}
        for action in ("redact", "block")
        for mode in ("window", "hold")
    ]
    with Gateway(tmp_path_factory.mktemp("gateway"), make_config(*models, guardrails=rules)) as gateway:
        yield gateway


@pytest.fixture
async def setup(gateway: Gateway, upstream_port: int) -> AsyncIterator[Setup]:
    async with Replay(upstream_port) as replay:
        yield Setup(gateway, replay, gateway.mint())


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[Http1]:
    async with await Http1.open(setup.gateway.port) as client:
        yield client


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", ["window", "hold"])
async def test_every_split_of_a_text_gives_the_same(setup: Setup, client: Http1, place: str, mode: str):
    for text, clean in TEXTS.items():
        cuts = [[text[:at], text[at:]] for at in range(len(text) + 1)] + [list(text)]
        for parts in cuts:
            body = await setup.ask(client, place, f"redact-{mode}", Answer([stream(place, parts)]))
            assert said(place, body) == clean, parts
            assert b"doe" not in body


@pytest.mark.parametrize("place", ["content", "anthropic text"])
async def test_every_split_of_the_packets_gives_the_same(setup: Setup, client: Http1, place: str):
    text, clean = next(iter(TEXTS.items()))
    whole = stream(place, [text[:14], text[14:20], text[20:]])
    for at in range(1, len(whole), 3):
        body = await setup.ask(client, place, "redact-window", Answer([whole[:at], whole[at:]]))
        assert said(place, body) == clean, at
