"""Realtime sessions: the official OpenAI client and bare WebSockets, through the gateway to the mock."""

import asyncio
import base64
import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_now
from websockets.typing import Subprotocol

from ailink import _core

PATHS = [row[1] for row in _core.endpoints() if row[3] == "realtime"]
PRICE = {
    "input_per_million": 4,
    "output_per_million": 16,
    "cache_read_per_million": 0.4,
    "audio_input_per_million": 32,
    "audio_output_per_million": 64,
}
CREATE = {"type": "response.create"}
SAY: Any = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(script: str, **settings: Any) -> Any:
        return make_deployment(provider, script, model="up-rt", price=PRICE, **settings)

    told = "events=3;usage=100:40;cached=60"
    config = make_config(
        make_model("rt", at(told), aliases=["short"]),
        make_model("slow", at("events=200;gap=20ms")),
        make_model("breaks", at("events=9;reset_at_event=2")),
        make_model("untold", at("events=8;usage=none")),
        make_model("status", at("status=429;retry_after=7")),
        make_model("secret", at("")),
        make_model("guarded", at(""), guardrails=["words"]),
        make_model("chat-only", make_deployment(provider, dialect="anthropic")),
        make_model("gone", make_deployment("http://127.0.0.1:9", timeouts={"connect": "1s"})),
        guardrails=[
            {"name": "words", "checks": [{"contains": {"words": ["forbidden"], "operator": "none"}}]}
        ],
        server={"limits": {"session_idle": "2s", "session_message": "64KiB"}},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="realtime")


def dial(
    gateway: Gateway, secret: str | None, query: str = "model=rt", path: str = "/v1/realtime", **more: Any
) -> connect:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    url = f"ws://127.0.0.1:{gateway.port}{path}?{query}"
    return connect(url, additional_headers=headers, compression=None, max_size=None, **more)


async def event(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def until_event(socket: ClientConnection, kind: str) -> Any:
    while (found := await event(socket))["type"] != kind:
        pass
    return found


async def refusal(dialled: connect) -> Any:
    with pytest.raises(InvalidStatus) as refused:
        async with dialled:
            pass
    return refused.value.response


def rows(gateway: Gateway, key: Key, count: int) -> list[dict[str, Any]]:
    """The attempts of a key, oldest first."""

    def found() -> list[dict[str, Any]]:
        mine = gateway.spend_logs(api_key=key.token)
        return mine if len(mine) >= count else []

    return until(found, f"{count} rows")[::-1]


# ── the official client ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_official_client(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint()
    mark = provider.mark()
    async with (
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret) as client,
        client.realtime.connect(model="short") as session,
    ):
        first = await session.recv()
        assert first.type == "session.created"
        await session.session.update(
            session={"type": "realtime", "model": "short", "output_modalities": ["audio"]}
        )
        updated = await session.recv()
        assert updated.type == "session.updated", updated
        sound = base64.b64encode(bytes(4_800 * 10)).decode()
        await session.input_audio_buffer.append(audio=sound)
        await session.input_audio_buffer.commit()
        kinds: list[str] = []
        for _ in range(2):
            await session.response.create()
            async for heard in session:
                kinds.append(heard.type)
                if heard.type == "response.done":
                    usage = heard.response.usage
                    assert usage is not None
                    assert (usage.input_tokens, usage.output_tokens) == (100, 40)
                    break
    assert kinds.count("response.output_audio.delta") == 6
    seen = provider.requests(mark)[0]
    assert (seen.method, seen.path) == ("GET", "/v1/realtime")
    assert "model=up-rt" in seen.query
    assert key.secret not in str(seen)
    # A response is a row: 30 of text and 10 of sound in, 60 cached, 40 of sound out.
    settled = rows(gateway, key, 2)
    assert len(settled) == 2
    for row in settled:
        assert (row["prompt_tokens"], row["cache_read_input_tokens"]) == (30, 60)
        cost = (30 * 4 + 60 * 0.4 + 10 * 32 + 40 * 64) / 1_000_000
        assert float(row["spend"]) == pytest.approx(cost, abs=1e-12)
    assert settled[0]["request_id"] == settled[1]["request_id"]
    until(lambda: provider.requests(mark)[0].end == "done", "the provider's session is closed")


async def test_text_and_an_error_of_the_provider(gateway: Gateway, key: Key) -> None:
    async with dial(gateway, key.secret) as socket:
        await until_event(socket, "session.created")
        await socket.send(json.dumps(SAY))
        await until_event(socket, "conversation.item.added")
        await socket.send("{}")
        assert (await event(socket))["type"] == "error"
        await socket.send(json.dumps(CREATE))
        done = await until_event(socket, "response.done")
        assert done["response"]["output"][0]["content"][0]["text"]


# ── the handshake ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_and_form_of_key(gateway: Gateway, key: Key, path: str) -> None:
    for more in (
        {"additional_headers": {"api-key": key.secret}},
        {"additional_headers": {"Authorization": f"Bearer {key.secret}"}},
        {"subprotocols": [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key.secret}")]},
        {},
    ):
        query = "model=rt" if more else f"model=rt&key={key.secret}"
        url = f"ws://127.0.0.1:{gateway.port}{path}?{query}"
        async with connect(url, **more) as socket:  # type: ignore[arg-type]
            assert (await event(socket))["type"] == "session.created"
            assert socket.subprotocol == ("realtime" if "subprotocols" in more else None)


async def test_what_the_provider_is_sent(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    offered = [
        Subprotocol("realtime"),
        Subprotocol(f"openai-insecure-api-key.{key.secret}"),
        Subprotocol("openai-beta.realtime-v1"),
    ]
    async with dial(gateway, None, "model=rt&intent=transcription", subprotocols=offered) as socket:
        assert (await event(socket))["type"] == "session.created"
        assert socket.response is not None
        assert socket.response.headers["x-ailink-model"] == "rt"
        assert socket.response.headers["x-request-id"].startswith("req_")
    seen = provider.requests(mark)[0]
    assert seen.headers["sec-websocket-protocol"] == "realtime"
    assert seen.headers["openai-beta"] == "realtime=v1"
    assert "intent=transcription" in seen.query
    assert "sec-websocket-extensions" not in seen.headers
    assert key.secret not in str(seen)


async def test_refusals_before_the_upgrade(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    blocked = gateway.mint(models=["rt"])
    limited = gateway.mint(rpm_limit=1)
    async with dial(gateway, limited.secret) as socket:
        await event(socket)
    expected = {
        401: dial(gateway, None),
        403: dial(gateway, blocked.secret, "model=secret"),
        404: dial(gateway, key.secret, "model=nothing"),
        429: dial(gateway, limited.secret),
        502: dial(gateway, key.secret, "model=gone"),
    }
    for status, dialled in expected.items():
        answer = await refusal(dialled)
        assert answer.status_code == status, answer
        assert set(json.loads(answer.body)["error"]) == {"message", "type", "param", "code"}
    for query in ("", "model=", "model=%zz", "model=chat-only", "model=guarded"):
        assert (await refusal(dial(gateway, key.secret, query))).status_code == 400, query
    assert len(provider.requests(mark)) == 1
    # The provider's own refusal is passed on, with its advice.
    answer = await refusal(dial(gateway, key.secret, "model=status"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_what_is_no_upgrade(gateway: Gateway, key: Key) -> None:
    plain = gateway.http.get("/v1/realtime", params={"model": "rt"}, headers=key.bearer)
    assert plain.status_code == 426, plain.text
    assert plain.headers["upgrade"] == "websocket"
    assert plain.json()["error"]["code"] == "upgrade_required"
    assert gateway.http.post("/v1/realtime", headers=key.bearer).status_code == 405


async def test_parallel_sessions_are_counted(gateway: Gateway) -> None:
    key = gateway.mint(max_parallel_requests=1)
    async with dial(gateway, key.secret) as socket:
        await event(socket)
        assert (await refusal(dial(gateway, key.secret))).status_code == 429

    def opened() -> bool:
        try:
            with connect_now(
                f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=rt", additional_headers=key.bearer
            ) as again:
                return "session.created" in str(again.recv())
        except InvalidStatus:
            return False

    await asyncio.to_thread(until, opened, "the place is free again")


# ── endings ─────────────────────────────────────────────────────────────────────────────────────────────────


async def closing(socket: ClientConnection) -> tuple[int, list[Any]]:
    """The code of the close frame, and the events before it."""
    heard: list[Any] = []
    with suppress(ConnectionClosed):
        while True:
            heard.append(await event(socket))
    assert socket.close_code is not None
    return socket.close_code, heard


async def test_a_client_that_leaves(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint()
    mark = provider.mark()
    async with dial(gateway, key.secret, "model=slow") as socket:
        await socket.send(json.dumps(CREATE))
        await until_event(socket, "response.output_text.delta")
        socket.transport.abort()
    seen = until(lambda: next((s for s in provider.requests(mark) if s.end), None), "the session ends")
    assert seen.end == "client_gone"
    assert seen.events_out is not None
    assert seen.events_out < 50
    row = rows(gateway, key, 1)[0]
    assert row["source"] == "estimated"
    assert 0 < row["completion_tokens"] < 50


async def test_a_close_code_travels(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    socket = await dial(gateway, key.secret)
    await event(socket)
    await socket.close(4000, "enough")
    assert socket.close_code == 4000
    until(lambda: provider.requests(mark)[0].end == "done", "the provider saw the closing")


async def test_a_provider_that_breaks(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret, "model=breaks") as socket:
        await socket.send(json.dumps(CREATE))
        code, heard = await closing(socket)
    assert code == 1011
    assert heard[-1]["type"] == "error"
    assert heard[-1]["error"]["code"] == "upstream_connection_lost"
    assert rows(gateway, key, 1)[0]["source"] == "estimated"


async def test_usage_that_is_not_told_is_estimated(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret, "model=untold") as socket:
        await socket.send(json.dumps(CREATE))
        await until_event(socket, "response.done")
    row = rows(gateway, key, 1)[0]
    assert row["source"] == "estimated"
    assert row["completion_tokens"] >= 8


async def test_bounds_of_a_session(gateway: Gateway, key: Key) -> None:
    async with dial(gateway, key.secret) as socket:
        await event(socket)
        code, _ = await closing(socket)
    assert code == 1000, "idle"
    async with dial(gateway, key.secret) as socket:
        await event(socket)
        await socket.send("x" * 65_537)
        assert (await closing(socket))[0] == 1009
    async with dial(gateway, key.secret) as socket:
        await event(socket)
        pong = await socket.ping()
        await asyncio.wait_for(pong, 5)


async def test_a_session_without_a_response_costs_nothing(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret) as socket:
        await event(socket)
    row = rows(gateway, key, 1)[0]
    assert (row["prompt_tokens"], row["completion_tokens"], float(row["spend"])) == (0, 0, 0)


async def test_a_budget_ends_a_session(gateway: Gateway) -> None:
    one = (30 * 4 + 10 * 4 + 60 * 0.4 + 40 * 16) / 1_000_000
    key = gateway.mint(max_budget=one * 1.5)
    async with dial(gateway, key.secret) as socket:
        await event(socket)
        for _ in range(3):
            await socket.send(json.dumps(CREATE))
        code, heard = await closing(socket)
    assert code == 1008
    assert sum(one["type"] == "response.done" for one in heard) in {1, 2}
    assert heard[-1]["error"]["code"] == "budget_exceeded"
    assert len(rows(gateway, key, 1)) <= 2


async def test_a_blocked_key_ends_its_session(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret) as socket:
        await socket.send(json.dumps(CREATE))
        await until_event(socket, "response.done")
        gateway.call("/key/block", {"key": key.secret})
        await socket.send(json.dumps(CREATE))
        code, heard = await closing(socket)
    assert code == 1008
    assert heard[-1]["error"]["code"] == "blocked_key"


async def test_a_shutdown_says_goodbye(tmp_path: Path, provider: MockProvider) -> None:
    config = make_config(
        make_model("rt", make_deployment(provider, "events=3")),
        make_model("slow", make_deployment(provider, "events=10;gap=50ms")),
    )
    with Gateway(tmp_path, config) as running:
        key = running.mint()
        async with dial(running, key.secret) as idle, dial(running, key.secret, "model=slow") as busy:
            await event(idle)
            await busy.send(json.dumps(CREATE))
            await until_event(busy, "response.created")
            running.child.signal(signal.SIGTERM)
            code, heard = await closing(idle)
            assert (code, heard[-1]["error"]["code"]) == (1001, "shutting_down")
            # A response that is on its way is heard to its end.
            code, heard = await closing(busy)
            assert code == 1001
            assert "response.done" in [one["type"] for one in heard]
        assert running.child.wait(30) == 0
        assert {row.source for row in running.ledger()} == {"reported"}
