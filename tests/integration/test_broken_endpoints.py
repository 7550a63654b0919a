"""What goes wrong at a provider, at every row of the endpoint table: a typed 502 in the caller's dialect, or
an error in what had begun; never a page of HTML, a silent end, or a bomb that unfolds.
"""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model
from tests.integration.test_endpoints import PLANE, dialect_of, is_error, placed, request_of

FAULTS = {
    "html": "body=html",
    "bomb": "body=bomb",
    "empty": "body=empty",
    "truncated": "body=truncated",
    "garbage": "body=garbage",
    "reset": "reset_at_byte=10",
    "short": "close_at_byte=10",
    "head": "drop=close",
}
DIALECTS = ("openai", "anthropic", "gemini", "cohere", "bedrock")
ROWS = {row[3]: row for row in reversed(PLANE)}
"""One path of each operation."""
SOUND = {"audio_speech"}
"""Answers of any bytes: what they say cannot be wrong, only what they are said to be."""


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    # Nobody rests after a fault: every request is to see it.
    calm = {"breaker": {"open": "0s"}}
    models = [
        make_model(name, *(make_deployment(provider, script, dialect=dialect) for dialect in DIALECTS))
        for name, script in FAULTS.items()
    ]
    config = make_config(*models, routing={"translation": "never", **calm})
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def send(gateway: Gateway, key: Key, operation: str, model: str) -> tuple[httpx.Response, bool]:
    """The answer, and whether it came to its end."""
    method, pattern = ROWS[operation][:2]
    named = None if "{model}" in pattern or "{rest}" in pattern else model
    request: dict[str, Any] = request_of(operation, named)
    for one in request.get("json", {}).get("requests", []):
        one["model"] = f"models/{model}"
    path = placed(pattern, model)
    read, whole = bytearray(), True
    answer = httpx.Response(0)
    try:
        with gateway.http.stream(method, path, headers=key.bearer, **request) as answer:
            for piece in answer.iter_raw():
                read += piece
    except httpx.RemoteProtocolError:
        whole = False
    return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(read)), whole


def last_message(frames: bytes) -> bytes:
    """Of Amazon's event stream."""
    last = b""
    while frames:
        (length,) = struct.unpack(">I", frames[:4])
        last, frames = frames[:length], frames[length:]
    return last


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", [name for name in ROWS if name not in SOUND])
def test_every_endpoint(gateway: Gateway, key: Key, operation: str, fault: str) -> None:
    answer, whole = send(gateway, key, operation, fault)
    assert whole
    assert b"<html" not in answer.content
    if answer.status_code == 502:
        assert is_error(answer, dialect_of(operation))
        return
    # A stream whose head had come: the error is the last that is said.
    assert answer.status_code == 200
    if answer.headers["content-type"] == "application/vnd.amazon.eventstream":
        assert b"modelStreamErrorException" in last_message(answer.content)
    else:
        assert operation == "stream_generate_content"
        assert answer.json()[-1]["error"]["code"] == 502


@pytest.mark.parametrize("fault", FAULTS)
def test_sound(gateway: Gateway, key: Key, fault: str) -> None:
    answer, whole = send(gateway, key, "audio_speech", fault)
    assert b"<html" not in answer.content
    if fault in ("html", "empty", "bomb", "head"):
        assert (answer.status_code, whole) == (502, True)
        assert is_error(answer)
    elif fault in ("reset", "short"):
        # It broke off in the middle: it ends before its end, maybe with its head unsent.
        assert (answer.status_code, whole) in {(0, False), (200, False), (502, True)}
    else:
        assert (answer.status_code, whole) == (200, True)


def test_nothing_unfolded_or_panicked(gateway: Gateway, key: Key) -> None:
    """A bomb is 32 MiB; all at once they would be 700."""
    before = gateway.child.memory()
    with ThreadPoolExecutor(len(ROWS)) as pool:
        list(pool.map(lambda operation: send(gateway, key, operation, "bomb"), ROWS))
    assert gateway.child.memory(peak=True) < before + (96 << 20)
    assert "panicked" not in gateway.child.log
