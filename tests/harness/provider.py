"""The mock provider as a process of its own, so that it outlives a gateway that is killed.

A script (`key=value;key=value`, see `rust/mock`) says how an answer shall be: put it into the name of a
deployment's model (`make_deployment(provider, script)`), or set it for all answers with `set_defaults`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
from tests.harness.load import UNBOUNDED
from tests.harness.process import Child, free_port


class Seen(NamedTuple):
    """One request as the provider saw it. `end` is None while it is being answered."""

    number: int
    connection: int
    received_ns: int
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str | None
    body_len: int
    body_sha256: str
    status: int | None
    end: str | None
    end_ns: int | None
    events_out: int | None
    bytes_out: int | None

    def json(self) -> Any:
        assert self.body is not None, f"a body of {self.body_len} bytes was not kept"
        return json.loads(self.body)


class MockProvider:
    """Started when made. Use as a context manager, or call `close`."""

    def __init__(
        self, directory: Path, *, journal: bool = False, record: int = 4096, arguments: tuple[str, ...] = ()
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.journal_file = directory / "journal.jsonl"
        options = ["--port", str(self.port), "--record", str(record), *arguments]
        if journal:
            options += ["--journal", str(self.journal_file)]
        self.child = Child("mock-provider", ["-m", "ailink", "mock", "provider", *options], directory, {})
        self._http = httpx.Client(base_url=self.url, timeout=20, limits=UNBOUNDED)
        self.start()

    def start(self) -> Self:
        """Starts it (again), on the same port."""
        self.child.start()
        try:
            self.child.alive_until(self._answers, "mock provider answers", 60)
        except BaseException:
            self.close()
            raise
        return self

    def kill(self) -> None:
        """Ends it at once; `start` brings it back."""
        self.child.kill()

    def close(self) -> None:
        self._http.close()
        self.child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_defaults(self, script: str) -> None:
        """The script that every answer starts from, from now on."""
        self._http.post("/mock/defaults", content=script).raise_for_status()

    def reset(self) -> None:
        """Back to how it was started: default script, seen requests, counters."""
        self._http.post("/mock/reset").raise_for_status()

    def stats(self) -> dict[str, Any]:
        """Counters: requests, done, client_gone, broken_off, in_flight, connections, connections_open, …"""
        found: dict[str, Any] = self._http.get("/mock/stats").raise_for_status().json()
        return found

    def requests(self, since: int = -1, where: Callable[[Seen], bool] | None = None) -> list[Seen]:
        """Requests after the one numbered `since`, oldest first."""
        rows = self._last(max(0, self.mark() - since) if since >= 0 else 1_000_000)
        for row in rows:
            row["headers"] = {name.lower(): value for name, value in row["headers"]}
        found = [Seen(**{field: row[field] for field in Seen._fields}) for row in rows]
        return [seen for seen in found if seen.number > since and (where is None or where(seen))]

    def mark(self) -> int:
        """Number of the latest request, for `requests(since=…)`."""
        rows = self._last(1)
        return rows[0]["number"] if rows else -1

    def journal(self, at: str | None = None) -> list[dict[str, Any]]:
        """Lines of the truth journal, optionally only those `at` "received" or "end"."""
        lines = self.journal_file.read_text().splitlines() if self.journal_file.exists() else []
        found = [json.loads(line) for line in lines]
        return [line for line in found if at is None or line["at"] == at]

    def _last(self, count: int) -> list[dict[str, Any]]:
        answer = self._http.get("/mock/requests", params={"last": count}).raise_for_status().json()
        return [dict(row) for row in answer["requests"]]

    def _answers(self) -> bool:
        try:
            return self._http.get("/mock/stats").is_success
        except httpx.TransportError:
            return False
