"""Responses over a WebSocket: bare sockets, the official client, and Codex's first request."""

import asyncio
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

PRICE = {"input_per_million": 1, "output_per_million": 2}
RECORDED = Path(__file__).parent / "agents" / "codex.json"
PATHS = ["/v1/responses", "/responses", "/openai/v1/responses", "/openai/responses"]


def config(provider: MockProvider) -> Any:
    def at(script: str, dialect: str, **settings: Any) -> Any:
        return make_deployment(provider, script, dialect=dialect, price=PRICE, **settings)

    return make_config(
        make_model("native", at("echo", "responses")),
        make_model("claude", at("echo", "anthropic")),
        make_model("slow", at("events=300;gap=20ms", "responses")),
        make_model("brief", at("events=60;gap=20ms", "responses")),
        make_model("waits", at("latency=3s;echo", "responses")),
        make_model("throttled", at("status=429;retry_after=7", "responses")),
        make_model("inside", at("error_at_event=1;events=4", "responses")),
        make_model("gpt-5.2", at("", "responses")),
        make_model("guarded", at("echo", "responses"), guardrails=["words"]),
        guardrails=[{"name": "words", "words": ["forbidden"]}],
        server={"limits": {"session_idle": "1500ms"}},
    )


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), config(provider)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def dial(gateway: Gateway, secret: str | None, path: str = "/v1/responses", **headers: str) -> connect:
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    url = f"ws://127.0.0.1:{gateway.port}{path}"
    return connect(url, additional_headers=headers, compression=None, max_size=None)


async def ask(socket: ClientConnection, model: str, said: Any, **more: Any) -> list[Any]:
    """The events of one response."""
    await socket.send(json.dumps({"type": "response.create", "model": model, "input": said, **more}))
    events: list[Any] = []
    while not events or events[-1]["type"] not in {
        "response.completed", "response.failed", "response.incomplete", "error",
    }:  # fmt: skip
        events.append(json.loads(await asyncio.wait_for(socket.recv(), 15)))
    return events


def text(events: list[Any]) -> str:
    return "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")


def rows(gateway: Gateway, key: Key, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        mine = gateway.spend_logs(api_key=key.token)
        return mine if len(mine) >= count else []

    return until(found, f"{count} rows")


@pytest.mark.parametrize("path", PATHS)
async def test_a_response_per_message(gateway: Gateway, path: str) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret, path) as socket:
        for model, said in (("native", "one two"), ("claude", "three four"), ("native", "five")):
            events = await ask(socket, model, said)
            assert events[0]["type"] == "response.created"
            assert text(events) == said
            assert events[-1]["response"]["usage"]["output_tokens"] > 0
    assert [row["model_group"] for row in rows(gateway, key, 3)].count("native") == 2
    assert len(gateway.spend_logs(api_key=key.token)) == 3


async def test_the_official_client(gateway: Gateway, key: Key) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret) as client:
        async with client.responses.connect() as connection:
            await connection.response.create(model="claude", input="hello there")
            kinds, said = [], ""
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.output_text.delta":
                    said += event.delta
                if event.type == "response.completed":
                    break
    assert (kinds[0], said) == ("response.created", "hello there")


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("model", ["claude", "native"])
async def test_what_goes_on(
    gateway: Gateway, key: Key, provider: MockProvider, model: str, store: bool
) -> None:
    async with dial(gateway, key.secret) as socket:
        first = (await ask(socket, model, "one", store=store))[-1]["response"]["id"]
        mark = provider.mark()
        await ask(socket, model, "two", store=store, previous_response_id=first)
        (seen,) = provider.requests(mark)
        if model == "claude" or not store:
            for said in ("one", "two"):
                assert said in (seen.body or "")
            assert "previous_response_id" not in (seen.body or "")
        else:
            assert seen.json()["previous_response_id"] == first
        lost = await ask(socket, model, "x", previous_response_id="resp_none")
        assert (lost[-1]["status"], lost[-1]["error"]["code"]) == (400, "previous_response_not_found")
        # The connection goes on.
        assert text(await ask(socket, model, "still here")) == "still here"
    if not store:
        async with dial(gateway, key.secret) as socket:
            gone = await ask(socket, model, "x", previous_response_id=first)
            assert gone[-1]["error"]["code"] == "previous_response_not_found"


async def test_warming_up(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    async with dial(gateway, key.secret) as socket:
        mark = provider.mark()
        warm = await ask(socket, "claude", "the rules", generate=False)
        assert [one["type"] for one in warm] == ["response.created", "response.completed"]
        assert provider.requests(mark) == []
        await ask(socket, "claude", "go", previous_response_id=warm[-1]["response"]["id"])
        (seen,) = provider.requests(mark)
        assert "the rules" in (seen.body or "")


async def test_codex(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    upgrade, post = json.loads(RECORDED.read_text())["requests"][:2]
    own = {"upgrade", "sec-websocket-version", "sec-websocket-extensions", "user-agent"}
    headers = {name: value for name, value in upgrade["headers"].items() if name not in own}
    mark = provider.mark()
    async with dial(gateway, key.secret, upgrade["path"], **headers) as socket:
        body = {name: value for name, value in post["body"].items() if name != "stream"}
        await socket.send(json.dumps({"type": "response.create", **body}))
        kinds = []
        while not kinds or kinds[-1] != "response.completed":
            kinds.append(json.loads(await asyncio.wait_for(socket.recv(), 15))["type"])
    (seen,) = provider.requests(mark)
    assert (seen.method, seen.path) == ("POST", "/v1/responses")
    assert seen.json().keys() == post["body"].keys()
    assert "openai-beta" not in seen.headers


async def test_refusals(gateway: Gateway, key: Key) -> None:
    with pytest.raises(InvalidStatus) as unknown:
        async with dial(gateway, "sk-unknown-key-000000"):
            pass
    assert unknown.value.response.status_code == 401
    plain = gateway.http.get("/v1/responses", headers=key.bearer)
    assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket")
    async with dial(gateway, key.secret) as socket:
        for model, status in (("nothing", 404), ("throttled", 429)):
            (error,) = await ask(socket, model, "x")
            assert (error["status"], bool(error["error"]["message"])) == (status, True)
        assert error["headers"]["retry-after"] == "7"
        (blocked,) = await ask(socket, "guarded", "forbidden words")
        assert blocked["status"] == 400
        for message, param in (
            ("{", None),
            ("[]", None),
            ('{"type": "session.update"}', "type"),
            ('{"type": "response.create", "input": "x"}', "model"),
            ('{"type": "response.create", "model": "claude", "input": 5}', "input"),
            ('{"type": "response.create", "model": "native", "background": true}', "background"),
        ):
            await socket.send(message)
            error = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert (error["type"], error["status"], error["error"]["param"]) == ("error", 400, param), message
        failed = await ask(socket, "inside", "x")
        assert failed[-1]["type"] in {"error", "response.failed"}
        assert text(await ask(socket, "native", "goes on")) == "goes on"


async def test_limits_and_keys_are_asked_every_time(gateway: Gateway) -> None:
    key = gateway.mint(rpm_limit=2)
    async with dial(gateway, key.secret) as socket:
        for _ in range(2):
            assert text(await ask(socket, "native", "x")) == "x"
        (refused,) = await ask(socket, "native", "x")
        assert refused["status"] == 429
    blocked = gateway.mint()
    async with dial(gateway, blocked.secret) as socket:
        assert text(await ask(socket, "native", "x")) == "x"
        gateway.call("/key/block", {"key": blocked.secret})
        (refused,) = await ask(socket, "native", "x")
        assert refused["status"] in {401, 403}


async def test_messages_wait_for_their_turn(gateway: Gateway, key: Key) -> None:
    async with dial(gateway, key.secret) as socket:
        for said in ("first", "second", "third"):
            await socket.send(json.dumps({"type": "response.create", "model": "native", "input": said}))
        told = []
        while len(told) < 3:
            event = json.loads(await asyncio.wait_for(socket.recv(), 10))
            if event["type"] == "response.output_text.done":
                told.append(event["text"])
    assert told == ["first", "second", "third"]


@pytest.mark.parametrize("model", ["slow", "waits"])
async def test_a_client_that_leaves_is_not_answered(gateway: Gateway, model: str) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret) as socket:
        await socket.send(json.dumps({"type": "response.create", "model": model, "input": "x"}))
        if model == "slow":
            for _ in range(6):
                await asyncio.wait_for(socket.recv(), 10)
        else:
            await asyncio.sleep(0.3)
    (row,) = rows(gateway, key, 1)
    assert row["status"] != "success" or row["completion_tokens"] < 300


async def test_silence_ends_it(gateway: Gateway, key: Key) -> None:
    async with dial(gateway, key.secret) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


async def test_a_shutdown_waits_for_the_response(provider: MockProvider, tmp_path: Path) -> None:
    with Gateway(tmp_path, config(provider)) as gateway:
        async with dial(gateway, gateway.mint().secret) as socket:
            await socket.send(json.dumps({"type": "response.create", "model": "brief", "input": "x"}))
            await asyncio.wait_for(socket.recv(), 10)
            gateway.child.signal(signal.SIGTERM)
            kinds: list[str] = []
            # A closing that is not normal is an error; a loop over a socket ends without one.
            with suppress(ConnectionClosed):
                while True:
                    kinds.append(json.loads(await asyncio.wait_for(socket.recv(), 20))["type"])
            assert socket.close_code == 1001
    assert "response.completed" in kinds
    assert kinds[-1] == "error"
