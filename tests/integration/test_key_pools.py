"""Several keys of one deployment: used in turn, one that is refused or limited rests, none is ever told."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, chat, make_config, make_model, until
from tests.harness.listening import Call, Listening, Reply

KEYS = [f"sk-pool-{name}-{'x' * 24}" for name in ("one", "two", "three")]
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


class ByKey(Listening):
    """A provider that answers each key with the status it is told, 200 by default."""

    def __init__(self) -> None:
        super().__init__()
        self.status: dict[str, tuple[int, dict[str, str]]] = {}
        self.seen: Counter[str] = Counter()

    def answer(self, call: Call) -> Reply:
        secret = call.headers["authorization"].removeprefix("Bearer ")
        self.seen[secret] += 1
        status, headers = self.status.get(secret, (200, {}))
        said = ANSWER if status == 200 else {"error": {"message": f"no: {secret}", "type": "t"}}
        return Reply(status, said, headers)


@pytest.fixture
def upstream() -> Iterator[ByKey]:
    with ByKey() as provider:
        yield provider


def at(url: str) -> dict[str, Any]:
    return {"provider": "openai_compatible", "base_url": f"{url}/v1", "model": "m"}


def config(upstream: ByKey, *keys: str) -> dict[str, Any]:
    pooled = {"id": "pooled", "api_keys": list(keys), **at(upstream.url)}
    return make_config(make_model("m", pooled, retries=2), server={"threads": 1})


@pytest.fixture
def gateway(upstream: ByKey, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, config(upstream, *KEYS)) as running:
        yield running


def ask(gateway: Gateway, key: Key) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat("m"), headers=key.bearer)


def health(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.call("/health/deployments")["data"][0]["keys"]
    return found


def test_keys_take_turns(gateway: Gateway, upstream: ByKey) -> None:
    key = gateway.mint()
    for _ in range(30):
        ask(gateway, key).raise_for_status()
    assert upstream.seen == dict.fromkeys(KEYS, 10)
    assert [(row["key"], row["state"], row["requests"]) for row in health(gateway)] == [
        (1, "used", 10), (2, "used", 10), (3, "used", 10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "headers", "cause"),
    [
        (429, {"retry-after": "30"}, "rate_limited"),
        (401, {}, "credential_refused"),
        (403, {}, "credential_refused"),
    ],
)
def test_one_that_does_not_serve_rests(
    gateway: Gateway, upstream: ByKey, status: int, headers: dict[str, str], cause: str
) -> None:
    key = gateway.mint()
    upstream.status[KEYS[1]] = (status, headers)
    answers = [ask(gateway, key) for _ in range(20)]
    # Nobody notices: one request was sent again, with another key.
    assert {answer.status_code for answer in answers} == {200}
    assert Counter(answer.headers["x-ailink-attempts"] for answer in answers) == {"1": 19, "2": 1}
    assert upstream.seen[KEYS[1]] == 1
    second = health(gateway)[1]
    assert (second["state"], second["cause"], second["refused"]) == ("resting", cause, 1)
    assert second["retry_in_ms"] <= (30_000 if status == 429 else 60_000)
    row = gateway.call("/health/deployments")["data"][0]
    assert row["state"] == "closed"
    labels = {"deployment": "pooled", "key": "2"}
    assert gateway.metric("ailink_credential_refusals_total", **labels) == 1
    assert gateway.metric("ailink_credential_resting", **labels) == 1
    again = next(answer for answer in answers if answer.headers["x-ailink-attempts"] == "2")
    rows = gateway.attempts_of(again.headers["x-request-id"], 2)
    assert [row["status_code"] for row in rows] == [status, 200]
    until(lambda: "key 2 of the deployment rests" in gateway.log, "it is told")
    assert not any(secret in gateway.log for secret in KEYS)


def test_a_limited_key_comes_back(gateway: Gateway, upstream: ByKey) -> None:
    key = gateway.mint()
    upstream.status[KEYS[0]] = (429, {"retry-after": "1"})
    for _ in range(6):
        ask(gateway, key).raise_for_status()
    upstream.status.clear()
    before = upstream.seen[KEYS[0]]

    def used() -> bool:
        ask(gateway, key).raise_for_status()
        return upstream.seen[KEYS[0]] > before

    until(used, "it is used again")


def test_none_serves(gateway: Gateway, upstream: ByKey) -> None:
    key = gateway.mint()
    upstream.status = dict.fromkeys(KEYS, (401, {}))
    answer = ask(gateway, key)
    assert answer.status_code in (401, 502)
    assert upstream.seen.total() == 3
    assert not any(secret in answer.text for secret in KEYS)
    assert not any(secret in gateway.log for secret in KEYS)
    # New keys of the file are used at once.
    fresh = [f"{secret}-new" for secret in KEYS]
    gateway.reconfigure(config(upstream, *fresh))
    for _ in range(3):
        ask(gateway, key).raise_for_status()
    assert all(upstream.seen[secret] == 1 for secret in fresh)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"api_keys": [KEYS[0], KEYS[0]]}, "is there twice"),
        ({"api_keys": [KEYS[0], ""]}, "must be a key in printable ASCII"),
        ({"api_keys": KEYS, "api_key": KEYS[0]}, "give one of them"),
    ],
)
def test_bad_pools(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    gateway = Gateway(tmp_path, make_config(make_model("m", {**at("http://127.0.0.1:9"), **given})))
    with pytest.raises(AssertionError, match="ended with 1"):
        gateway.start()
    assert told in gateway.log
    assert not any(secret in gateway.log for secret in KEYS)
