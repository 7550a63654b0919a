"""What must hold before a figure counts: the same content, usage, events and refusals through every
system.
"""

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

from benches.gateway import payload
from benches.gateway.mock import MockProvider
from benches.gateway.rounds import WrongAnswers
from benches.gateway.system import UPSTREAM_MODEL, Route, System, Target

GONE_SECONDS = 1.0  # within which a system must close upstream after its client left


def check(system: System, provider: MockProvider) -> list[str]:
    """Run every check that applies to the system; returns their names. Raises `WrongAnswers`."""
    done = []
    for name, route, script in (
        ("content", Route.CANNED, ""),
        ("stream", Route.SCRIPTED, "stream"),
        ("too many requests", Route.SCRIPTED, "limited"),
        ("client gone", Route.SCRIPTED, "long"),
        ("rate limit", Route.LIMITED, ""),
        ("unknown key", Route.STRANGER, ""),
    ):
        target = system.target(route, script)
        if target is None:
            continue
        try:
            _CHECKS[name](target, provider)
        except (AssertionError, OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise WrongAnswers(f"{system.name}, {name}: {error!r}") from error
        done.append(name)
    return done


def ask(target: Target, shape: payload.Shape = payload.SMALL) -> http.client.HTTPResponse:
    """One request to a target; the caller reads the answer."""
    url = urlsplit(target.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    connection.request("POST", url.path, payload.chat(target.model, shape), dict(target.headers))
    return connection.getresponse()


def _events(body: bytes) -> list[bytes]:
    blocks = body.replace(b"\r\n", b"\n").split(b"\n\n")
    lines = [line for block in blocks for line in block.split(b"\n") if line.startswith(b"data:")]
    return [line.removeprefix(b"data:").strip() for line in lines]


def _expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _content(target: Target, _: MockProvider) -> None:
    response = ask(target)
    body = json.loads(response.read())
    wanted = json.loads(payload.canned_reply(UPSTREAM_MODEL))
    _expect(response.status == 200, f"status {response.status}: {body}")
    content = body["choices"][0]["message"]["content"]
    _expect(content == wanted["choices"][0]["message"]["content"], "other content")
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        _expect(body["usage"][count] == wanted["usage"][count], f"other {count}")


def _stream(target: Target, _: MockProvider) -> None:
    response = ask(target, payload.STREAM)
    body = response.read()
    _expect(response.status == 200, f"status {response.status}: {body[:300]!r}")
    events = _events(body)
    if target.url.endswith("/v1/messages"):
        kinds = [json.loads(event)["type"] for event in events]
        _expect(kinds[-1] == "message_stop", f"ends with {kinds[-1:]!r}")
        _expect(
            kinds.count("content_block_delta") == STREAM_EVENTS,
            f"{kinds.count('content_block_delta')} pieces",
        )
        return
    _expect(events[-1] == b"[DONE]", f"ends with {events[-1:]!r}")
    chunks: list[dict[str, Any]] = [json.loads(event) for event in events[:-1]]
    contents = [c for c in chunks if c["choices"] and c["choices"][0]["delta"].get("content")]
    _expect(len(contents) == STREAM_EVENTS, f"{len(contents)} events with content")
    _expect(any(chunk.get("usage") for chunk in chunks), "no usage although asked for")


STREAM_EVENTS = 64


def _too_many(target: Target, _: MockProvider) -> None:
    response = ask(target)
    body = response.read()
    _expect(response.status == 429, f"status {response.status}: {body[:300]!r}")


def _client_gone(target: Target, provider: MockProvider) -> None:
    response = ask(target, payload.STREAM)
    response.read(1)
    response.close()
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline:
        if provider.last_request().get("end") == "client_gone":
            return
        time.sleep(0.02)
    raise AssertionError(
        f"after {GONE_SECONDS} s the provider still sends: {provider.last_request().get('end')}"
    )


def _rate_limit(target: Target, _: MockProvider) -> None:
    statuses = []
    for _attempt in range(3):
        response = ask(target)
        response.read()
        statuses.append(response.status)
    _expect(statuses[-1] == 429, f"statuses {statuses}")
    _expect(response.headers.get("retry-after"), "no retry-after")


def _unknown_key(target: Target, _: MockProvider) -> None:
    response = ask(target)
    body = response.read()
    _expect(response.status == 401, f"status {response.status}: {body[:300]!r}")


_CHECKS = {
    "content": _content,
    "stream": _stream,
    "too many requests": _too_many,
    "client gone": _client_gone,
    "rate limit": _rate_limit,
    "unknown key": _unknown_key,
}
