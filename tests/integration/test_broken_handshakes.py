"""What goes wrong at a provider before a session has begun: its answer to the handshake of a WebSocket
(Realtime, Gemini Live), or to the request that a message of Responses over a WebSocket becomes. The caller is
told by status where there is one, else by an event or the closing; there is one row in the ledger, and no
secret is told.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.harness import Gateway, Key, make_config, make_model, until
from tests.harness.canned import CannedProvider, answer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

SECRET = "sk-provider-2718281828"
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SETUP = {"generationConfig": {"responseModalities": ["TEXT"]}}
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n"
AGREED = SWITCHED + b"connection: Upgrade\r\nupgrade: websocket\r\n"
WRONG = AGREED + b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
PAGE = b"<html><body>Bad gateway</body></html>"


class Fault(NamedTuple):
    said: bytes
    status: int
    code: str
    """The class, as callers of OpenAI's formats are told it; "": the provider's own error is passed on."""
    words: str = ""


def refusal(status: str, message: str, **headers: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "theirs"}
    return answer(json.dumps({"error": error}).encode(), status, **headers)


FAULTS = {
    "400": Fault(refusal("400 Bad Request", "no such voice"), 400, "theirs", "no such voice"),
    "401": Fault(refusal("401 Unauthorized", f"bad key {SECRET}"), 401, "upstream_auth_failed"),
    "403": Fault(refusal("403 Forbidden", f"bad key {SECRET}"), 403, "upstream_auth_failed"),
    "429": Fault(refusal("429 Too Many", "slow down", retry_after="7"), 429, "theirs", "slow down"),
    "500": Fault(refusal("500 Oops", "it broke"), 500, "theirs", "it broke"),
    "page": Fault(answer(PAGE, "503 Away", "text/html"), 503, "upstream_error", "page of HTML"),
    "redirect": Fault(answer(b"", "302 Found", location="http://127.0.0.1:9/"), 502, "upstream_error"),
    "plain-200": Fault(answer(b"{}"), 502, "upstream_invalid_response"),
    "page-200": Fault(answer(PAGE, content_type="text/html"), 502, "upstream_invalid_response"),
    "wrong-accept": Fault(WRONG, 502, "upstream_invalid_response"),
    "no-accept": Fault(AGREED + b"\r\n", 502, "upstream_invalid_response"),
    "no-upgrade": Fault(SWITCHED + b"\r\n", 502, "upstream_invalid_response"),
    "garbage": Fault(b"\x00\xff\x17 no HTTP\r\n\r\n", 502, "upstream_invalid_response"),
    "half": Fault(AGREED, 502, "upstream_connection_lost"),
    "closes": Fault(b"", 502, "upstream_connection_lost"),
    "hangs": Fault(b"", 504, "upstream_timeout"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with CannedProvider() as provider:
        provider.answers = {name: fault.said for name, fault in FAULTS.items()}
        provider.silent = {"hangs"}

        def at(name: str, row: str) -> dict[str, Any]:
            base = provider.base(name) + ("/v1" if row == "openai" else "")
            own = {"timeouts": {"first_byte": "500ms"}} if name == "hangs" else {}
            return {"provider": row, "base_url": base, "model": "up", "api_key": SECRET, **own}

        models = [
            make_model(f"{name}-{row}", at(name, row)) for name in FAULTS for row in ("openai", "gemini")
        ]
        # Nobody rests after a fault: every request is to see it.
        config = make_config(*models, routing={"breaker": {"open": "0s"}})
        with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
            yield running
            assert SECRET not in running.child.log
            assert "panicked" not in running.child.log


@pytest.fixture
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def dial(gateway: Gateway, path: str, **headers: str) -> connect:
    url = f"ws://127.0.0.1:{gateway.port}{path}"
    return connect(url, additional_headers=headers, compression=None)


def one_row(gateway: Gateway, key: Key, status: str = "failure") -> None:
    def rows() -> list[dict[str, Any]]:
        return gateway.spend_logs(api_key=key.token)

    until(rows, "the row")
    time.sleep(0.05)
    (row,) = rows()
    assert row["status"] == status, row


def told(fault: Fault, error: dict[str, Any]) -> None:
    """An error in the shape of OpenAI's formats."""
    assert error.keys() >= {"message", "type", "code"}
    assert error["code"] == fault.code, error
    assert fault.words in error["message"]
    assert SECRET not in str(error)
    assert "<html" not in str(error)


@pytest.mark.parametrize("name", FAULTS)
async def test_realtime(gateway: Gateway, key: Key, name: str) -> None:
    fault = FAULTS[name]
    with pytest.raises(InvalidStatus) as refused:
        async with dial(gateway, f"/v1/realtime?model={name}-openai", **key.bearer):
            pass
    response = refused.value.response
    assert response.status_code == fault.status, response.body
    told(fault, json.loads(response.body or b"")["error"])
    assert response.headers.get("retry-after") == ("7" if name == "429" else None)
    one_row(gateway, key)


@pytest.mark.parametrize("name", FAULTS)
async def test_live(gateway: Gateway, key: Key, name: str) -> None:
    fault = FAULTS[name]
    path = f"{LIVE}?key={key.secret}"
    async with dial(gateway, path) as socket:
        await socket.send(json.dumps({"setup": {**SETUP, "model": f"models/{name}-gemini"}}))
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
    frame = closed.value.rcvd
    assert frame is not None
    assert frame.code == (1008 if fault.status < 500 else 1011), frame
    assert frame.reason
    assert fault.words in frame.reason
    assert SECRET[:8] not in frame.reason
    assert "<html" not in frame.reason
    one_row(gateway, key)


@pytest.mark.parametrize("name", FAULTS)
async def test_responses(gateway: Gateway, key: Key, name: str) -> None:
    fault = FAULTS[name]
    async with dial(gateway, "/v1/responses", **key.bearer) as socket:
        asked = {"type": "response.create", "model": f"{name}-openai", "input": "hello"}
        await socket.send(json.dumps(asked))
        event = json.loads(await asyncio.wait_for(socket.recv(), 10))
        assert (event["type"], event["status"]) == ("error", fault.status), event
        told(fault, event["error"])
        assert event.get("headers") == ({"retry-after": "7"} if name == "429" else None)
        # The connection goes on.
        await socket.send(json.dumps({"type": "response.create", "model": "none", "input": "hello"}))
        assert json.loads(await asyncio.wait_for(socket.recv(), 10))["status"] == 404
    # Whoever posts the request gets what the provider said as it is, and pays for it.
    one_row(gateway, key, "success" if name == "plain-200" else "failure")
