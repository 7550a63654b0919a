"""A day in the life of a gateway, as its users load it: chats, streams, embeddings, key administration, wrong
keys.

`locust -f benches/locustfile.py --headless …` against a running gateway (`benches/day.py` starts one). Every
answer of the data plane tells its own overhead in `x-ailink-overhead` (µs); the run fails when the 99th
percentile is above 1 ms, or when anything answers as it should not.
"""

import json
import os
import uuid
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.env import Environment

from benches.gateway.payload import LARGE, SMALL, STREAM, chat

OVERHEAD_P99_US = 1000.0
OVERHEAD = "gateway overhead"
MASTER_KEY = os.environ.get("AILINK_MASTER_KEY", "")
MODEL = os.environ.get("AILINK_BENCH_MODEL", "mock")


class Application(FastHttpUser):
    """An application with a virtual key of its own."""

    weight = 20
    wait_time = between(0.02, 0.1)

    def on_start(self) -> None:
        """Mint the key."""
        self.bearer = {"Authorization": f"Bearer {MASTER_KEY}"}
        body = {"models": [MODEL], "rpm_limit": 1_000_000, "key_alias": f"day-{uuid.uuid4()}"}
        with self.client.post("/key/generate", json=body, headers=self.bearer, name="mint a key") as response:
            self.bearer = {"Authorization": f"Bearer {response.json()['key']}"}

    def ask(self, path: str, body: bytes, name: str, contains: bytes) -> None:
        """POST, check the answer, and note the overhead it tells."""
        headers = {**self.bearer, "Content-Type": "application/json"}
        with self.client.post(path, data=body, headers=headers, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}: {response.text[:200]}")
            elif contains not in (response.content or b""):
                response.failure(f"lacks {contains!r}")
            overhead = response.headers.get("x-ailink-overhead") if response.headers else None
            if overhead is not None:
                note(self.environment, float(overhead))

    @task(10)
    def chats(self) -> None:
        """A short chat."""
        self.ask("/v1/chat/completions", chat(MODEL, SMALL), "chat, 1 KiB", b'"usage"')

    @task(3)
    def long_chats(self) -> None:
        """A conversation with history."""
        self.ask("/v1/chat/completions", chat(MODEL, LARGE), "chat, 16 KiB", b'"usage"')

    @task(4)
    def streams(self) -> None:
        """A streamed answer, read to its end."""
        self.ask("/v1/chat/completions", chat(MODEL, STREAM), "stream", b"[DONE]")

    @task(3)
    def embeddings(self) -> None:
        """A batch of texts."""
        body = json.dumps({"model": MODEL, "input": ["the first text", "the second text"]}).encode()
        self.ask("/v1/embeddings", body, "embeddings", b'"embedding"')

    @task(1)
    def models(self) -> None:
        """What may I use?"""
        self.client.get("/v1/models", headers=self.bearer, name="models")


class Administrator(FastHttpUser):
    """Someone who looks after keys."""

    fixed_count = 1
    wait_time = between(0.2, 0.5)

    @task
    def life_of_a_key(self) -> None:
        """Mint, look, block, delete."""
        bearer = {"Authorization": f"Bearer {MASTER_KEY}"}
        body: dict[str, Any] = {"key_alias": f"admin-{uuid.uuid4()}", "models": [MODEL]}
        with self.client.post("/key/generate", json=body, headers=bearer, name="key: generate") as response:
            key = response.json()["key"]
        self.client.get(f"/key/info?key={key}", headers=bearer, name="key: info")
        self.client.post("/key/block", json={"key": key}, headers=bearer, name="key: block")
        self.client.post("/key/delete", json={"keys": [key]}, headers=bearer, name="key: delete")


class Stranger(FastHttpUser):
    """Someone with wrong keys."""

    fixed_count = 1
    wait_time = between(0.01, 0.05)

    @task
    def guesses(self) -> None:
        """Every guess is refused."""
        headers = {"Authorization": f"Bearer sk-{uuid.uuid4().hex}", "Content-Type": "application/json"}
        path, body = "/v1/chat/completions", chat(MODEL, SMALL)
        with self.client.post(
            path, data=body, headers=headers, name="wrong key", catch_response=True
        ) as response:
            if response.status_code == 401:
                response.success()
            else:
                response.failure(f"status {response.status_code}")


def note(environment: Environment, microseconds: float) -> None:
    """Count an overhead as a request of its own name, so that locust keeps its distribution.

    Locust counts in milliseconds and rounds above 100: told as milliseconds, microseconds keep two digits.
    """
    environment.events.request.fire(
        request_type="µs",
        name=OVERHEAD,
        response_time=microseconds,
        response_length=0,
        exception=None,
        context={},
    )


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Set the exit code: 1 for failures or an overhead above the bar."""
    stats = environment.stats
    entry = stats.entries.get((OVERHEAD, "µs"))
    p99 = float(entry.get_response_time_percentile(0.99)) if entry else float("inf")
    failures = stats.total.num_failures
    print(f"gateway overhead p99: {p99:.0f} µs (at most {OVERHEAD_P99_US:.0f}); failures: {failures}")
    environment.process_exit_code = 0 if p99 <= OVERHEAD_P99_US and failures == 0 else 1
