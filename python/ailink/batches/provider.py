"""What every shape of a batch can do, and how providers are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ailink.config.batch_sites import BatchSite

TIMEOUT_MS = 300_000
JSON_BYTES = 4 * 1024 * 1024
TOLD = 300

State = Literal["running", "ended", "failed"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the provider takes it; `name` is our own and stands for its number."""

    name: str
    body: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was said to one request. `status` 0: it was never asked; `code` says why."""

    name: str
    status: int
    body: str
    code: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is. `remote`: its names at the provider, where they are known now."""

    state: State
    completed: int = 0
    failed: int = 0
    code: str = ""
    message: str = ""
    remote: dict[str, str] = {}


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """`operation`: what the provider is asked; `endpoint`: what the caller named."""

    batch: str
    operation: str
    endpoint: str
    window: str
    lines: Sequence[Line]


class ProviderFault(Exception):
    """The provider refused or cannot be read. `passing`: it may be well later."""

    def __init__(self, code: str, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.code = code
        self.passing = passing


class Shape(Protocol):
    """One way to hand a provider many requests. All raise `ProviderFault`."""

    async def submit(self, submission: Submission) -> dict[str, str]:
        """Hands it over; the names of the job at the provider."""

    async def look(self, remote: Mapping[str, str]) -> Standing:
        """How far it is."""

    async def cancel(self, remote: Mapping[str, str]) -> None:
        """Asks it to end; it is looked at as before."""

    async def results(self, remote: Mapping[str, str]) -> list[Result]:
        """Of a job that has ended, in any order."""

    async def clean(self, remote: Mapping[str, str]) -> None:
        """Removes what the provider keeps of it."""


class Caller(Protocol):
    def provider_call(self, asked: bytes) -> bytes:
        """Blocks. Raises RuntimeError, ValueError."""


class _Answer(msgspec.Struct):
    status: int
    body: bytes


class Wire:
    """Asks one provider, with the credential of the deployment."""

    def __init__(self, plane: Caller, site: BatchSite, most: int) -> None:
        self.site = site
        self._plane = plane
        self._most = most

    async def raw(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        kind: str = "application/json",
        service: str | None = None,
        whole: bool = False,
    ) -> bytes:
        """The body of an answer of 2xx. `whole`: it may be long. Raises `ProviderFault`."""
        asked = {
            "deployment": self.site.deployment,
            "method": method,
            "url": url,
            "headers": [*self.site.headers, *([("content-type", kind)] if body else [])],
            "body": body,
            "service": service,
            "timeout_ms": TIMEOUT_MS,
            "most": self._most if whole else JSON_BYTES,
        }
        try:
            packed = await asyncio.to_thread(self._plane.provider_call, msgspec.msgpack.encode(asked))
        except RuntimeError as error:
            text = f"Provider '{self.site.provider}' cannot be reached: {error}"
            raise ProviderFault("upstream_unreachable", text, passing=True) from error
        answer = msgspec.msgpack.decode(packed, type=_Answer)
        if 200 <= answer.status < 300:
            return answer.body
        raise self._refused(answer)

    async def json(self, method: str, url: str, body: Any = None, *, service: str | None = None) -> Any:
        """An answer that is a JSON object. Raises `ProviderFault`."""
        content = b"" if body is None else msgspec.json.encode(body)
        told = await self.raw(method, url, content, service=service)
        if not told:
            return {}
        try:
            found = msgspec.json.decode(told)
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict):
            raise self.spoilt("no JSON object")
        return found

    def spoilt(self, what: str) -> ProviderFault:
        text = f"Provider '{self.site.provider}' sent an answer that cannot be read: {what}."
        return ProviderFault("upstream_invalid_response", text, passing=True)

    def _refused(self, answer: _Answer) -> ProviderFault:
        if answer.status in (401, 403):
            # What it says of that may name the credential, and tenants read it.
            text = f"Provider '{self.site.provider}' refuses the gateway's credential ({answer.status})."
            return ProviderFault("upstream_auth_failed", text, passing=True)
        text = f"Provider '{self.site.provider}' answered {answer.status}: {_message(answer.body)}"
        return ProviderFault(
            "upstream_error", text, passing=answer.status in (408, 409, 429) or answer.status >= 500
        )


def _message(body: bytes) -> str:
    """What a refusal says, in few words."""
    try:
        found: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "no JSON"
    for place in ("error", "message"):
        if isinstance(found, dict) and place in found:
            found = found[place]
    return str(found)[:TOLD]


def text_of(found: Any, *path: str) -> str:
    """The text at a path of an answer; empty where there is none."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def count_of(found: Any, *names: str) -> int:
    """The sum of counts, some of which may be texts."""
    told = [found.get(name) for name in names] if isinstance(found, dict) else []
    return sum(
        int(value)
        for value in told
        if isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
    )


def rows_of(content: bytes, fault: ProviderFault) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines. Raises `fault` when it is none."""
    rows = []
    for line in content.splitlines():
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError:
            raise fault from None
        if not isinstance(row, dict):
            raise fault
        rows.append(row)
    return rows


def raw_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
