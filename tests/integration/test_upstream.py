"""Providers that lie, break off or speak strangely: the caller gets a proper answer or a proper error, the
ledger its row.
"""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    hasty,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    message,
)
from tests.harness.canned import CannedProvider, answer

SHORT = {"connect": "400ms", "first_byte": "600ms", "idle": "600ms", "total": "20s"}
GOOD = json.dumps({"id": "x", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

BROKEN = {
    "garbage": ("body=garbage", "upstream_invalid_response"),
    "truncated": ("body=truncated", "upstream_invalid_response"),
    "empty": ("body=empty", "upstream_invalid_response"),
    "html": ("body=html", "upstream_invalid_response"),
    "too-short": ("content_length=+10", "upstream_connection_lost"),
    "too-long": ("content_length=-10", "upstream_invalid_response"),
    "reset": ("reset_at_byte=100", "upstream_connection_lost"),
    "close": ("close_at_byte=100", "upstream_connection_lost"),
    "stall": ("stall_at_byte=100", "upstream_timeout"),
}
"""Whole answers that the mock breaks, and the code of the error that says so."""

INVALID: dict[str, bytes] = {
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bad-status": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\n{}",
    "no-status": b"HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "bad-header": HEAD + b"no colon here\r\ncontent-length: 2\r\n\r\n{}",
    "space-before-colon": HEAD + b"content-length : 2\r\n\r\n{}",
    "nul-in-header": HEAD + b"x: a\x00b\r\ncontent-length: 2\r\n\r\n{}",
    "two-lengths": HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
    "length-and-chunked": HEAD
    + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "negative-length": HEAD + b"content-length: -2\r\n\r\n{}",
    "length-in-words": HEAD + b"content-length: two\r\n\r\n{}",
    "huge-length": HEAD + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "bad-chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk-without-end": HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    "huge-chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
    "cut-chunks": HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "unknown-coding": HEAD + b"transfer-encoding: gzip\r\n\r\n{}",
    "endless-head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 60_000 + b"\r\n{}",
    "one-huge-header": HEAD + b"x: " + b"y" * 1_000_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "nothing": b"",
    "half-a-head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "deep": answer(b"[" * 200_000),
    "duplicate-keys": answer(b'{"usage":{},"usage":{}}'),
    "not-utf8": answer(b'{"a":"\xff"}'),
}
"""Answers that are not HTTP, or no JSON."""

GOOD_BUT_STRANGE: dict[str, bytes] = {
    "early-hints": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    + answer(GOOD),
    "http-1.0": b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + GOOD,
    "until-close": HEAD + b"\r\n" + GOOD,
    "chunk-extension": HEAD
    + b"transfer-encoding: chunked\r\n\r\n"
    + f"{len(GOOD):X};a=b\r\n".encode()
    + GOOD
    + b"\r\n0\r\nx-trailer: 1\r\n\r\n",
    "no-reason": HEAD.replace(b" OK", b"") + f"content-length: {len(GOOD)}\r\n\r\n".encode() + GOOD,
    "white-space": answer(b" \r\n\t" + GOOD + b"\n\n"),
    "with-charset": answer(GOOD, content_type="Application/JSON; charset=UTF-8"),
    "same-length-twice": HEAD + f"content-length: {len(GOOD)}\r\n".encode() * 2 + b"\r\n" + GOOD,
    "created": answer(GOOD, status="201 Created"),
}


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as provider:
        provider.answers |= INVALID | GOOD_BUT_STRANGE
        yield provider


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, canned: CannedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    names = [
        *INVALID, *GOOD_BUT_STRANGE, "headers", "gzip", "redirect", "no-content", "odd-error", "error-status",
        "stream", "stream-cut", "sse-error", "array", "large", "missing",
    ]  # fmt: skip
    config = make_config(
        *(
            make_model(
                name,
                make_deployment(provider, script, timeouts=hasty(script)),
                make_deployment(provider, script, dialect="anthropic", timeouts=hasty(script)),
            )
            for name, (script, _) in BROKEN.items()
        ),
        *(make_model(f"canned-{name}", make_deployment(canned.base(name), timeouts=SHORT)) for name in names),
        make_model("garbage-event", make_deployment(provider, "garbage_at_event=2")),
        make_model("no-done", make_deployment(provider, "done=0;events=3")),
        make_model("spelling", make_deployment(provider, "newline=crlf;bom=1;comments=1;split=1;events=5")),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=key.bearer)


# ── whole answers ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_broken_answers(gateway: Gateway, key: Key, name: str, dialect: str) -> None:
    code = BROKEN[name][1]
    if dialect == "openai":
        response = ask(gateway, key, name)
    else:
        response = gateway.http.post("/v1/messages", json=message(name), headers=key.bearer)
    assert response.status_code == (504 if code == "upstream_timeout" else 502), response.text
    error = response.json()["error"]
    assert error["message"]
    if dialect == "openai":
        # A body that ends too early is no valid answer, and its connection is lost: both are right.
        lost = {"upstream_connection_lost", "upstream_invalid_response"}
        assert error["code"] in (lost if code in lost else {code})
        assert error["type"] == ("timeout_error" if code == "upstream_timeout" else "upstream_error")
    else:
        assert response.json()["type"] == "error"
        assert response.json()["request_id"] == response.headers["x-request-id"]
    # What was spent on it is not known, but it is not forgotten.
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["status"], row["source"]) == ("failure", "estimated")
    assert row["prompt_tokens"] > 0


@pytest.mark.parametrize("name", INVALID)
def test_invalid_answers(gateway: Gateway, key: Key, name: str) -> None:
    response = ask(gateway, key, f"canned-{name}")
    assert response.status_code in {502, 504}, response.text
    error = response.json()["error"]
    assert error["type"] in {"upstream_error", "timeout_error"}
    assert error["message"]
    assert len(response.content) < 2000
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert row["status"] == "failure"


@pytest.mark.parametrize("name", GOOD_BUT_STRANGE)
def test_strange_answers(gateway: Gateway, key: Key, name: str) -> None:
    response = ask(gateway, key, f"canned-{name}")
    assert response.status_code in {200, 201}, response.text
    assert response.json() == json.loads(GOOD)
    assert "x-trailer" not in response.headers
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["source"], row["prompt_tokens"], row["completion_tokens"]) == ("reported", 3, 4)


def test_headers_of_the_provider(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    canned.answers["headers"] = answer(
        GOOD, server="secret-host/1", set_cookie="a=b", x_request_id="theirs", x_ratelimit_remaining="7",
        connection="keep-alive, x-hop", x_hop="1", keep_alive="timeout=5", x_ailink_cost="99",
        x_ailink_model="forged", date="Mon, 01 Jan 2001 00:00:00 GMT", strict_transport_security="max-age=1",
    )  # fmt: skip
    response = ask(gateway, key, "canned-headers")
    headers = response.headers
    assert headers["x-ratelimit-remaining"] == "7"
    assert headers["x-upstream-request-id"] == "theirs"
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-ailink-model"] == "canned-headers"
    assert headers.get_list("x-ailink-cost") == ["0"]
    kept_back = {"set-cookie", "keep-alive", "x-hop", "strict-transport-security", "connection"}
    assert not kept_back & set(headers)
    assert "secret-host" not in str(headers)
    assert "2001" not in headers["date"]


def test_a_compressed_answer(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    """Nobody asked for it (`accept-encoding: identity`), but it can be read."""
    body = gzip.compress(GOOD)
    canned.answers["gzip"] = answer(body, content_encoding="gzip")
    response = ask(gateway, key, "canned-gzip")
    assert response.status_code == 200
    assert response.json() == json.loads(GOOD)
    assert b"accept-encoding: identity" in canned.requests["gzip"][0].lower()


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect", "304 Not Modified"])
def test_redirects_are_not_followed(gateway: Gateway, canned: CannedProvider, key: Key, status: str) -> None:
    canned.answers["redirect"] = answer(b"", status=status, location=f"{canned.url}/missing/")
    response = ask(gateway, key, "canned-redirect")
    assert response.status_code == 502
    assert response.json()["error"]["type"] == "upstream_error"
    assert "location" not in response.headers
    assert "missing" not in canned.requests


def test_an_answer_without_content(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    canned.answers["no-content"] = b"HTTP/1.1 204 No Content\r\n\r\n"
    response = ask(gateway, key, "canned-no-content")
    assert response.status_code in {204, 502}


@pytest.mark.parametrize("status", [418, 451, 599])
def test_statuses_nobody_expects(gateway: Gateway, canned: CannedProvider, key: Key, status: int) -> None:
    canned.answers["odd-error"] = answer(b'{"error":{"message":"m","type":"t"}}', status=f"{status} Odd")
    response = ask(gateway, key, "canned-odd-error")
    assert response.status_code == status
    assert response.json()["error"]["message"] == "m"


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail":"not your shape"}', b'{"error":null}', b'{"error":7}', b"[]", b'"text"', b"null", b"",
        b'{"error":{"message":"a","message":"b"}}', b"\x00\x01\xff", b"line\nbreak \"quote\" \\ \x1b[31m",
        b"x" * 300_000, b'{"error":"as a text"}',
    ],
)  # fmt: skip
def test_errors_of_any_shape(gateway: Gateway, canned: CannedProvider, key: Key, body: bytes) -> None:
    canned.answers["error-status"] = answer(body, status="500 Internal Server Error")
    response = ask(gateway, key, "canned-error-status")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert isinstance(error, (dict, str))
    if isinstance(error, dict):
        assert error["message"]
    assert len(response.content) < 70_000


def test_an_array_passes(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    canned.answers["array"] = answer(b'[{"a":1}]')
    response = gateway.http.post(
        "/v1/embeddings", json={"model": "canned-array", "input": "x"}, headers=key.bearer
    )
    assert (response.status_code, response.content) == (200, b'[{"a":1}]')


def test_a_large_answer(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    body = json.dumps(
        {"data": "x" * 12_000_000, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    ).encode()
    canned.answers["large"] = answer(body)
    response = ask(gateway, key, "canned-large")
    assert (response.status_code, response.content == body) == (200, True)
    assert len(gateway.attempts_of(response.headers["x-request-id"])) == 1


def test_a_failing_connection_is_not_used_again(gateway: Gateway, key: Key) -> None:
    """After an answer that was broken, the next one comes on its own connection and is whole."""
    names = ["too-long", "spelling", "too-short", "spelling", "reset", "spelling"] * 3
    answers = in_parallel(lambda name: (name, ask(gateway, key, name).status_code), names, threads=3)
    assert all(status == (200 if name == "spelling" else 502) for name, status in answers), answers


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────


def test_garbage_in_a_stream_passes_as_it_is(gateway: Gateway, key: Key) -> None:
    response = ask(gateway, key, "garbage-event", stream=True)
    events = events_of(response.content)
    assert events[-1].done
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert row["source"] == "reported"


def test_a_missing_terminator_is_added(gateway: Gateway, key: Key) -> None:
    response = ask(gateway, key, "no-done", stream=True)
    assert [event.done for event in events_of(response.content)].count(True) == 1
    assert response.content.endswith(b"data: [DONE]\n\n")
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["source"], row["completion_tokens"]) == ("reported", 3)


def test_other_spellings_of_a_stream(gateway: Gateway, key: Key) -> None:
    response = ask(gateway, key, "spelling", stream=True)
    events = events_of(response.content)
    assert events[-1].done
    assert all(event.json()["choices"] for event in events[:-1])
    assert "".join(event.json()["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["source"], row["completion_tokens"]) == ("reported", 5)


def sse(*events: Any) -> bytes:
    lines = [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + "".join(lines).encode()


def test_streams_that_are_no_chat(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    """Images and transcriptions stream too; their last event carries the result *and* the usage."""
    usage = {"total_tokens": 9, "input_tokens": 4, "output_tokens": 5}
    image = {"type": "image_generation.completed", "b64_json": "aGk=", "usage": usage}
    canned.answers["stream"] = sse({"type": "image_generation.partial_image", "b64_json": "aA=="}, image)
    body = {"model": "canned-stream", "prompt": "x", "stream": True}
    response = gateway.http.post("/v1/images/generations", json=body, headers=key.bearer)
    assert [event.json()["type"] for event in events_of(response.content) if not event.done] == [
        "image_generation.partial_image", "image_generation.completed",
    ]  # fmt: skip
    assert b'"error"' not in response.content
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["source"], row["prompt_tokens"], row["completion_tokens"]) == ("reported", 4, 5)
    said = {"type": "transcript.text.done", "text": "hello", "usage": {"type": "tokens", **usage}}
    canned.answers["stream"] = sse({"type": "transcript.text.delta", "delta": "hello"}, said)
    response = gateway.http.post(
        "/v1/audio/transcriptions",
        data={"model": "canned-stream", "stream": "true"},
        files={"file": ("a.wav", b"x")},
        headers=key.bearer,
    )
    assert [event.json()["type"] for event in events_of(response.content) if not event.done] == [
        "transcript.text.delta", "transcript.text.done",
    ]  # fmt: skip
    assert b'"error"' not in response.content


def test_usage_beside_content_is_kept(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    """Some providers put the usage into the last event with a choice: hiding that would lose the end."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    last = {"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}], "usage": usage}
    canned.answers["stream"] = sse({"choices": [{"index": 0, "delta": {"content": "hi"}}]}, last, "[DONE]")
    response = ask(gateway, key, "canned-stream", stream=True)
    texts = [event.json()["choices"][0]["delta"]["content"] for event in events_of(response.content)[:-1]]
    assert texts == ["hi", "!"]
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["source"], row["prompt_tokens"], row["completion_tokens"]) == ("reported", 5, 1)


@pytest.mark.parametrize("end", [b"", b'data: {"choi', b'data: {"choices":[]}\n', b"\xff\xff"])
def test_a_stream_that_ends_in_the_middle(
    gateway: Gateway, canned: CannedProvider, key: Key, end: bytes
) -> None:
    canned.answers["stream-cut"] = sse({"choices": [{"index": 0, "delta": {"content": "hi"}}]}) + end
    response = ask(gateway, key, "canned-stream-cut", stream=True)
    events = events_of(response.content)
    assert events[0].json()["choices"][0]["delta"]["content"] == "hi"
    assert events[1].json()["error"]["code"] == "upstream_connection_lost"
    assert events[2].done
    assert len(events) == 3
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert (row["status"], row["source"]) == ("failure", "estimated")


def test_an_error_instead_of_a_stream(gateway: Gateway, canned: CannedProvider, key: Key) -> None:
    """A provider that says 200 and then only an error event: nothing was said, so the status tells it."""
    canned.answers["sse-error"] = sse({"error": {"message": "no capacity", "type": "server_error"}})
    response = ask(gateway, key, "canned-sse-error", stream=True)
    assert response.status_code == 502
    assert response.json()["error"]["message"].endswith("reports a failure: no capacity")
    [row] = gateway.attempts_of(response.headers["x-request-id"])
    assert row["status"] == "failure"


def test_nothing_of_this_was_a_panic(gateway: Gateway) -> None:
    assert gateway.metric("ailink_panics_total") == 0
    assert gateway.is_ready()
