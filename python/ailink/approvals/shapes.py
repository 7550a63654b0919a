"""What the data plane and the shell tell each other about approvals, as MessagePack."""

from __future__ import annotations

import msgspec


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is kept. `whole` false: it was too large, or cut short."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool


class Dossier(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it was written down; `answer` is there when the answer itself waits."""

    method: str
    pattern: str
    captured: str | None
    query: str | None
    headers: list[tuple[str, str]]
    body: bytes
    stream: bool
    routed: str | None
    provider: str | None
    tags: list[str]
    done: list[str]
    next: int
    calls: str
    answer: Answered | None

    @property
    def subject(self) -> bytes:
        """What is decided on: the request, or the answer that waits."""
        return self.body if self.answer is None else self.answer.body

    @property
    def is_stream(self) -> bool:
        """Whether the answer that waits is one."""
        headers = [] if self.answer is None else self.answer.headers
        return any(
            name == "content-type" and value.startswith("text/event-stream") for name, value in headers
        )


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A request that wants to be approved."""

    key_id: str
    org: str | None
    team: str | None
    user: str | None
    request_id: str
    policy: str
    version: int
    phase: str
    mode: str
    model: str
    joins: str
    asked: str
    named: bool
    roles: tuple[str, ...]
    users: tuple[str, ...]
    quorum: int
    expiry_ms: int
    default: str
    message: str
    channels: tuple[str, ...] | None
    dossier: bytes


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """One by its id, or by the token its requester was given."""

    id: str | None
    token: str | None
    key_id: str | None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome`: executed, failed, unknown; returned: nothing was done, somebody else may."""

    id: str
    fence: int
    outcome: str
    answer: Answered


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an approval stands. `fence` is set for the one who may go on."""

    id: str
    token: str
    status: str
    phase: str
    policy: str
    message: str | None
    left_ms: int
    fence: int | None = None
    edited: bytes | None = None
    dossier: bytes | None = None
    answer: Answered | None = None
