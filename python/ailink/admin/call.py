"""One management request as its handler sees it: who calls, and the decoded body, query and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

import msgspec

Role = Literal["admin", "key", "none"]

# The key id that stands for the configured master key; no stored key has it.
MASTER_ID = "master"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the front identified. `key_id` is set for the roles `admin` and `key`."""

    role: Role = "none"
    key_id: str = ""
    client_ip: str | None = None
    request_id: str | None = None


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The schema of a body or query that takes no fields."""


B = TypeVar("B")
Q = TypeVar("Q")


class Call(msgspec.Struct, Generic[B, Q], frozen=True, kw_only=True):
    """What a handler is called with."""

    caller: Caller
    body: B
    query: Q
    path: Mapping[str, str] = {}
