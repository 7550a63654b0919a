"""A service that is called: answers JSON, or text, by its path, and remembers what it was asked."""

from typing import Any, NamedTuple

from tests.harness.listening import Call, Listening, Reply, drained


class Asked(NamedTuple):
    """One call, as it came."""

    path: str
    headers: dict[str, str]
    body: Any


class Double(Listening):
    """Use as a context manager. `answers`: what is said on each path; else 404. A callable gets the body."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self.answers: dict[str, Any] = {}
        self.status = 200
        self.statuses: dict[str, int] = {}

    def answer(self, call: Call) -> Reply:
        self.asked.append(Asked(call.path, call.headers, call.json()))
        if call.path not in self.answers:
            return Reply(404, {"error": "unknown"})
        said = self.answers[call.path]
        status = self.statuses.get(call.path, self.status)
        return Reply(status, said(call.json()) if callable(said) else said)

    def take(self) -> list[Asked]:
        """The calls since the last time, oldest first."""
        return drained(self.asked)
