"""Google's Live API: the official client and bare WebSockets, through the gateway to the mock."""

import asyncio
import base64
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from tests.harness.certificates import write_pair
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ailink import _core

PATHS = [row[1] for row in _core.endpoints() if row[3] == "bidi_generate_content"]
PRICE = {
    "input_per_million": 0.5,
    "output_per_million": 2,
    "audio_input_per_million": 3,
    "audio_output_per_million": 12,
}
SETUP: Any = {"setup": {"model": "models/live", "generationConfig": {"responseModalities": ["TEXT"]}}}
SAY: Any = {
    "clientContent": {"turns": [{"role": "user", "parts": [{"text": "hello"}]}], "turnComplete": True}
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(script: str, **settings: Any) -> Any:
        return make_deployment(provider, script, model="up", price=PRICE, dialect="gemini", **settings)

    # Google's client opens sessions over TLS alone.
    place = tmp_path_factory.mktemp("tls")
    certificate, private = write_pair(place)
    config = make_config(
        make_model("live", at("events=3;usage=100:40"), aliases=["short"]),
        make_model("sound", at("events=2")),
        make_model("slow", at("events=200;gap=20ms")),
        make_model("breaks", at("events=9;reset_at_event=2")),
        make_model("untold", at("events=8;usage=none")),
        make_model("refuses", at("status=429")),
        make_model("guarded", at(""), guardrails=["words"]),
        make_model("chat-only", make_deployment(provider, dialect="anthropic")),
        make_model("gone", make_deployment("http://127.0.0.1:9", dialect="gemini")),
        guardrails=[{"name": "words", "words": ["forbidden"]}],
        server={
            "limits": {"session_idle": "2s", "session_message": "64KiB"},
            "tls": {"cert_file": str(certificate), "key_file": str(private)},
        },
    )
    gateway = Gateway(place / "gateway", config)
    gateway.http.close()
    gateway.url = f"https://127.0.0.1:{gateway.port}"
    context = ssl.create_default_context(cafile=str(certificate))
    gateway.http = httpx.Client(base_url=gateway.url, verify=context, timeout=30)
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(certificate)
    with gateway as running:
        yield running
    os.environ.pop("SSL_CERT_FILE") if before is None else os.environ.update(SSL_CERT_FILE=before)


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="live")


def dial(gateway: Gateway, secret: str | None, path: str = PATHS[0], query: str = "") -> connect:
    headers = {} if secret is None else {"x-goog-api-key": secret}
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    url = f"wss://127.0.0.1:{gateway.port}{path}{query}"
    return connect(url, additional_headers=headers, compression=None, max_size=None, ssl=context)


def setup(model: str, **more: Any) -> str:
    return json.dumps({"setup": {**SETUP["setup"], "model": f"models/{model}", **more}})


async def message(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def turn(socket: ClientConnection) -> tuple[str, Any]:
    """What the model says, and the message that ends its turn."""
    text = ""
    while not (found := await message(socket)).get("serverContent", {}).get("turnComplete"):
        parts = found["serverContent"].get("modelTurn", {}).get("parts", [])
        text += "".join(part.get("text", "") for part in parts)
    return text, found


async def ending(socket: ClientConnection) -> tuple[int, str]:
    """How the session was closed."""
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    await asyncio.wait_for(socket.wait_closed(), 10)
    return socket.close_code or 0, socket.close_reason or ""


def rows(gateway: Gateway, key: Key, count: int) -> list[dict[str, Any]]:
    """The attempts of a key, oldest first."""

    def found() -> list[dict[str, Any]]:
        mine = gateway.spend_logs(api_key=key.token)
        return mine if len(mine) >= count else []

    return until(found, f"{count} rows")[::-1]


async def test_the_official_client(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint()
    client = genai.Client(api_key=key.secret, http_options=types.HttpOptions(base_url=gateway.url))
    mark = provider.mark()
    config = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
    async with client.aio.live.connect(model="short", config=config) as session:
        for _ in range(2):
            await session.send_client_content(
                turns=types.Content(role="user", parts=[types.Part(text="hello")]), turn_complete=True
            )
            heard = [part async for part in session.receive()]
            assert "".join(part.text or "" for part in heard)
            last: Any = heard[-1]
            assert last.server_content.turn_complete
            usage = last.usage_metadata
            assert (usage.prompt_token_count, usage.response_token_count) == (100, 40)
    found = rows(gateway, key, 2)
    assert [(row["prompt_tokens"], row["completion_tokens"]) for row in found] == [(100, 40)] * 2
    # 100 × 0.5 + 40 × 2 for a million each.
    assert [row["spend"] for row in found] == ["0.00013"] * 2
    assert {row["model_group"] for row in found} == {"live"}
    # The script in the provider's name of the model was heeded; the caller's key went nowhere.
    [seen] = provider.requests(mark)
    assert key.secret not in str(seen)


async def test_sound_has_its_price(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret) as socket:
        await socket.send(setup("sound", generationConfig={"responseModalities": ["AUDIO"]}))
        assert await message(socket) == {"setupComplete": {}}
        sound = base64.b64encode(bytes(1_280 * 30)).decode()
        await socket.send(
            json.dumps({"realtimeInput": {"audio": {"data": sound, "mimeType": "audio/pcm;rate=16000"}}})
        )
        await socket.send(json.dumps({"realtimeInput": {"audioStreamEnd": True}}))
        told = (await turn(socket))[1]["usageMetadata"]
    [row] = rows(gateway, key, 1)
    assert told["promptTokensDetails"][1] == {"modality": "AUDIO", "tokenCount": 30}
    assert float(row["spend"]) == pytest.approx((30 * 3 + told["responseTokenCount"] * 12) / 1e6)


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_and_form_of_key(gateway: Gateway, key: Key, path: str) -> None:
    for secret, query in ((key.secret, ""), (None, f"?key={key.secret}")):
        async with dial(gateway, secret, path, query) as socket:
            named = (
                "projects/p/locations/l/publishers/google/models/live" if "cloud" in path else "models/live"
            )
            await socket.send(json.dumps({"setup": {"model": named}}).encode())
            assert await message(socket) == {"setupComplete": {}}
            await socket.send(json.dumps(SAY))
            assert (await turn(socket))[0]


async def test_refusals(gateway: Gateway, key: Key) -> None:
    for secret in (None, "sk-none"):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(gateway, secret):
                pass
        answer = refused.value.response
        assert answer.status_code == 401
        assert json.loads(answer.body or b"")["error"]["status"] == "UNAUTHENTICATED"
    plain = gateway.http.get(PATHS[0], headers={"x-goog-api-key": key.secret})
    assert (plain.status_code, plain.json()["error"]["code"]) == (426, 426)
    narrow = gateway.mint(models=["sound"])
    routes = gateway.mint(allowed_routes=["/v1/chat/completions"])
    for secret, first, code, reason in [
        (key.secret, setup("nothing"), 1008, "nothing"),
        (key.secret, setup("guarded"), 1008, "guardrails"),
        (key.secret, setup("chat-only"), 1008, ""),
        (key.secret, setup("gone"), 1011, ""),
        (key.secret, setup("refuses"), 1008, "told to fail"),
        (key.secret, json.dumps(SAY), 1007, "setup"),
        (key.secret, "no JSON", 1007, "setup"),
        (key.secret, "x" * 70_000, 1009, ""),
        (narrow.secret, setup("live"), 1008, "live"),
        (routes.secret, setup("live"), 1008, ""),
    ]:
        async with dial(gateway, secret) as socket:
            await socket.send(first)
            told = await ending(socket)
            assert (told[0], reason in told[1]) == (code, True), (first[:80], told)


async def test_limits_are_asked_every_turn(gateway: Gateway) -> None:
    key = gateway.mint(max_budget=0.0002)
    async with dial(gateway, key.secret) as socket:
        await socket.send(setup("live"))
        await message(socket)
        await socket.send(json.dumps(SAY))
        await turn(socket)
        rows(gateway, key, 1)
        await socket.send(json.dumps(SAY))
        # The first turn was one without a prompt; the second has no room.
        code, reason = await ending(socket)
        assert (code, "udget" in reason) == (1008, True), reason
    once = gateway.mint(rpm_limit=1)
    async with dial(gateway, once.secret) as socket:
        await socket.send(setup("live"))
        await message(socket)
        with pytest.raises(InvalidStatus) as refused:
            async with dial(gateway, once.secret):
                pass
    assert refused.value.response.status_code == 429


async def test_how_it_ends(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret) as socket:
        await socket.send(setup("live"))
        assert await message(socket) == {"setupComplete": {}}
        assert (await ending(socket))[0] == 1000
    async with dial(gateway, key.secret) as socket:
        await socket.send(setup("breaks"))
        await message(socket)
        await socket.send(json.dumps(SAY))
        assert (await ending(socket))[0] == 1011
    # An idle one costs nothing, one that broke off is estimated.
    idle, broken = sorted(float(row["spend"]) for row in rows(gateway, key, 2))
    assert (idle, broken > 0) == (0, True)


async def test_what_is_not_told_is_estimated(gateway: Gateway) -> None:
    key = gateway.mint()
    async with dial(gateway, key.secret) as socket:
        await socket.send(setup("untold"))
        await message(socket)
        for _ in range(2):
            await socket.send(json.dumps(SAY))
            assert "usageMetadata" not in (await turn(socket))[1]
    found = rows(gateway, key, 2)
    assert all(row["completion_tokens"] > 0 for row in found), found


@pytest.mark.parametrize("row", ["vertex_ai", "vertex_ai_global"])
async def test_what_vertex_ai_is_sent(tmp_path: Path, row: str) -> None:
    """Its own path on its host, a token, and the model with all that stands before its name there."""
    told: dict[str, Any] = {}

    async def session(socket: ServerConnection) -> None:
        assert socket.request is not None
        told.update(path=socket.request.path, authorization=socket.request.headers["authorization"])
        told.update(json.loads(await socket.recv()))
        await socket.send(json.dumps({"setupComplete": {}}))
        await socket.wait_closed()

    where = "projects/p-1/locations/eu-west-1/publishers/google"
    async with serve(session, "127.0.0.1", 0) as server:
        (listening,) = server.sockets
        place = {
            "provider": row,
            "base_url": f"http://127.0.0.1:{listening.getsockname()[1]}/v1/{where}",
            "api_key": "ya29.token",
            "model": "gemini-live",
        }
        with Gateway(tmp_path, make_config(make_model("talk", place))) as gateway:
            key = gateway.mint()
            url = f"ws://127.0.0.1:{gateway.port}{PATHS[0]}"
            async with connect(url, additional_headers={"x-goog-api-key": key.secret}) as socket:
                await socket.send(setup("talk"))
                assert await message(socket) == {"setupComplete": {}}
    assert told == {
        "path": "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent",
        "authorization": "Bearer ya29.token",
        "setup": {**SETUP["setup"], "model": f"{where}/models/gemini-live"},
    }
