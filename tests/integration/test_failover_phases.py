"""A deployment fails in each phase of a request: another stands in as long as nothing of worth has gone to
the caller, every attempt that was sent has one row in the ledger, and no text comes twice.
"""

import contextlib
import socket
import struct
import threading
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
    make_config,
    make_deployment,
    make_model,
    message,
)

TEXT = "text=The%20answer%20is%2042."
ANSWER = "The answer is 42."
# The script of the deployment that fails, and what the ledger says of its attempt.
SENT = {
    "first byte: reset": ("drop=reset", "connection_lost"),
    "first byte: close": ("drop=close", "connection_lost"),
    "first byte: silence": ("drop=stall", "timeout"),
    "status": ("status=503", "server_error"),
}
BODY = {
    "body: reset": ("reset_at_byte=20", "connection_lost"),
    "body: close": ("close_at_byte=20", "connection_lost"),
    "body: silence": ("stall_at_byte=20", "timeout"),
}
STREAM = {
    "before events: reset": ("reset_at_byte=0", "connection_lost"),
    "before events: close": ("close_at_byte=0", "connection_lost"),
    "before events: silence": ("stall_at_byte=0", "timeout"),
}
AFTER = {
    "after text: reset": "reset_at_event=2", "after text: close": "close_at_event=2",
    "after text: silence": "stall_at_event=2", "after text: an error event": "error_at_event=2",
}  # fmt: skip
DIALECTS = ("openai", "anthropic", "gemini", "cohere")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def half_reader() -> Iterator[str]:
    """A server that reads the beginning of a request and resets the connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    taken, _ = listener.accept()
                    taken.recv(1_000)
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    taken.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, half_reader: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def pair(name: str, script: str, dialect: str = "openai", bad: MockProvider | str = provider) -> Json:
        place = name.replace(": ", "-").replace(" ", "_")
        first = make_deployment(
            bad, f"{TEXT};{script}", dialect=dialect, id=f"{place}-bad", model="bad", order=0,
            timeouts=hasty(script),
        )  # fmt: skip
        good = make_deployment(provider, TEXT, dialect=dialect, id=f"{place}-good", model="good", order=1)
        return make_model(name, first, good, retries=1, routing={"breaker": {"open": "0s"}})

    scripts = {name: script for name, (script, _) in (SENT | BODY | STREAM).items()} | AFTER
    config = make_config(
        *(
            pair(f"{dialect}: {name}", script, dialect)
            for name, script in scripts.items()
            for dialect in DIALECTS
        ),
        make_model(
            "none",
            *(make_deployment(provider, "reset_at_byte=0", model=f"none-{n}") for n in "ab"),
            retries=1,
        ),
        pair("role", "close_at_event=0"),
        pair("failure", "error_at_event=0", "gemini"),
        pair("connect", "", bad="http://127.0.0.1:9"),
        pair("tls", "", bad=provider.url.replace("http:", "https:")),
        pair("write", "", bad=half_reader),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=key.bearer)


def text_of(answer: httpx.Response) -> str:
    """What the caller has read."""
    if "event-stream" not in answer.headers["content-type"]:
        return str(answer.json()["choices"][0]["message"]["content"])
    events = [event.json() for event in events_of(answer.content) if event.data.startswith("{")]
    deltas = [event["choices"][0]["delta"].get("content") for event in events if event.get("choices")]
    return "".join(delta for delta in deltas if delta)


def rows(gateway: Gateway, answer: httpx.Response, count: int) -> list[Json]:
    found = gateway.attempts_of(answer.headers["x-request-id"], count)
    assert [row["attempt_no"] for row in found] == list(range(1, count + 1))
    return found


def saved(gateway: Gateway, answer: httpx.Response, outcome: str) -> None:
    """The second deployment has answered, and both attempts have a row."""
    assert answer.status_code == 200, answer.text
    assert text_of(answer) == ANSWER
    assert answer.headers["x-ailink-attempts"] == "2"
    first, second = rows(gateway, answer, 2)
    assert (first["outcome"], first["status"], second["status"]) == (outcome, "failure", "success")
    # Some tell one token with the beginning of their streams.
    assert first["completion_tokens"] <= 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("phase", SENT | BODY)
def test_a_whole_answer_is_saved(gateway: Gateway, key: Key, phase: str, dialect: str) -> None:
    saved(gateway, ask(gateway, key, f"{dialect}: {phase}"), (SENT | BODY)[phase][1])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("phase", SENT | STREAM)
def test_a_stream_is_saved(gateway: Gateway, key: Key, phase: str, dialect: str) -> None:
    answer = ask(gateway, key, f"{dialect}: {phase}", stream=True)
    saved(gateway, answer, (SENT | STREAM)[phase][1])
    assert answer.text.endswith("data: [DONE]\n\n")
    # One beginning and one end.
    events = [event.json() for event in events_of(answer.content) if event.data.startswith("{")]
    assert len({event["id"] for event in events}) == 1
    assert sum(bool(choice.get("finish_reason")) for event in events for choice in event["choices"]) == 1


@pytest.mark.parametrize("phase", ["connect", "tls"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_not_sent_has_no_row(gateway: Gateway, key: Key, phase: str, stream: bool) -> None:
    answer = ask(gateway, key, phase, stream=stream)
    assert (answer.status_code, text_of(answer)) == (200, ANSWER), answer.text
    [row] = rows(gateway, answer, 1)
    assert (row["status"], row["model_id"]) == ("success", f"{phase}-good")


def test_a_request_that_was_sent_in_part(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "write", text="x" * 4_000_000)
    assert (answer.status_code, text_of(answer)) == (200, ANSWER), answer.text
    first, second = rows(gateway, answer, 2)
    assert (first["outcome"], second["status"]) == ("connection_lost", "success")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("phase", AFTER)
def test_nothing_is_said_twice(
    gateway: Gateway, key: Key, provider: MockProvider, phase: str, dialect: str
) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, f"{dialect}: {phase}", stream=True)
    assert answer.status_code == 200
    said = text_of(answer)
    assert said
    assert ANSWER.startswith(said)
    assert len(said) < len(ANSWER)
    assert '"error"' in answer.text
    assert len(provider.requests(mark)) == 1
    [row] = rows(gateway, answer, 1)
    assert row["status"] == "failure"


def test_claudes_client_sees_one_message(gateway: Gateway, key: Key) -> None:
    answer = gateway.http.post(
        "/v1/messages", json=message("anthropic: before events: reset", stream=True), headers=key.bearer
    )
    names = [event.name for event in events_of(answer.content)]
    assert (names.count("message_start"), names.count("message_stop"), names.count("error")) == (1, 1, 0)
    rows(gateway, answer, 2)


def test_a_stream_that_begins_with_an_error_is_saved(gateway: Gateway, key: Key) -> None:
    saved(gateway, ask(gateway, key, "failure", stream=True), "server_error")


def test_an_event_that_has_come_is_not_held_back(gateway: Gateway, key: Key) -> None:
    """Also where it says no more than who speaks: what follows it cannot be undone."""
    answer = ask(gateway, key, "role", stream=True)
    assert (answer.status_code, text_of(answer)) == (200, "")
    role, error, done = events_of(answer.content)
    assert role.json()["choices"][0]["delta"]["role"] == "assistant"
    assert (error.json()["error"]["code"], done.done) == ("upstream_connection_lost", True)
    [row] = rows(gateway, answer, 1)
    assert row["status"] == "failure"


def test_nobody_is_left(gateway: Gateway, key: Key) -> None:
    """Where all break off before an event, the caller gets an error with a status, not half a stream."""
    answer = ask(gateway, key, "none", stream=True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_connection_lost")
    rows(gateway, answer, 2)
