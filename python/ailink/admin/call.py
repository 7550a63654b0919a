"""One management request as its handler sees it: who calls, and the decoded body, query and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, NamedTuple, TypeVar

import msgspec

from ailink.identity.actor import ADMIN, Actor

Role = Literal["admin", "key", "none"]

# The key id that stands for the configured master key; no stored key has it.
MASTER_ID = "master"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the front identified. `key_id` is set for the roles `admin` and `key`; `actor`, once it was looked
    up, says what he may do. `if_match`: the version he means to change; `repeat`: what makes a repeat of his
    request known.
    """

    role: Role = "none"
    key_id: str = ""
    client_ip: str | None = None
    request_id: str | None = None
    actor: Actor | None = None
    if_match: str | None = None
    repeat: Repeat | None = None

    @property
    def acting(self) -> Actor:
        """What he may do; without a look-up only the operator's own key may do anything."""
        if self.actor is not None:
            return self.actor
        return ADMIN if self.role == "admin" else Actor(key_id=self.key_id)


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key: the row that remembers it, and the SHA-256 of what was asked."""

    id: str
    request: str


V = TypeVar("V")


class Tagged(NamedTuple, Generic[V]):
    """An answer with the version of what it shows, as an ETag."""

    value: V
    etag: str


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schema of a body or query that takes no fields."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is a form, as it came."""

    content_type: str
    content: bytes


B = TypeVar("B")
Q = TypeVar("Q")


class Call(msgspec.Struct, Generic[B, Q], frozen=True, kw_only=True):
    """What a handler is called with."""

    caller: Caller
    body: B
    query: Q
    path: Mapping[str, str] = {}
