"""What goes to the script and to the data plane, and how a limit is named and counted between nodes."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Protocol

import msgspec

# Lua's JSON writes 14 digits of a number; larger limits are counted in coarser grains.
EXACT = 10**13
# Redis reclaims this much later than the node stops using its leases.
MARGIN_MS = 5_000
# What rests is mentioned at least so often.
REST_MS = 60_000
# The period of what never begins anew.
EVER = 2**63 - 1


class LeasePlane(Protocol):
    """The part of the data plane that shares limits."""

    def lease_fd(self) -> int: ...
    def lease_calls(self) -> bytes: ...
    def lease_report(self, which: str) -> bytes: ...
    def lease_grant(self, grants: bytes) -> None: ...
    def lease_shrink(self, leases: bytes) -> bytes: ...
    def lease_heard(self, online: bool, valid_s: float | None) -> None: ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`node`: its name among the nodes, the same after a restart. `ttl_ms`: how long leases hold unheard."""

    url: str
    node: str
    ttl_ms: int
    peers: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One lease as the data plane has it."""

    kind: str
    id: str
    serial: int
    metric: str
    window: dict[str, Any] | None
    models: list[str] | None
    endpoints: list[str] | None = None
    providers: list[str] | None = None
    max: int
    period: int
    taken: int
    granted: int
    wanted: int
    least: int = 0
    """The smallest of the requests that wait; 0: none does."""
    idle_ms: int


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    id: str
    serial: int
    period: int
    granted: int
    low: int
    exhausted_ms: tuple[int, int] | None = None
    elsewhere: int = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One lease as the script takes it."""

    key: str
    max: int
    slot_ms: int
    held: int
    keep_ms: int
    ends: int
    """When the period ends, ms since 1970; 0: never."""
    taken: int
    granted: int
    want: int
    least: int
    ahead: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    granted: int
    status: str
    renewed: int
    recall: bool
    free: int
    elsewhere: int = 0
    fair: int = 0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    run: str | None = None
    now: int = 0
    ready: bool = True
    # An empty table is an object in Lua's JSON.
    rows: list[Answer] | dict[str, Any] = []
    peers: list[str] | dict[str, Any] = []


def joined(one: Standing, asked: Standing, wanted: int | None = None) -> Standing:
    """`one`, for whoever waits for it and for whoever waits for `asked`, which is the same lease."""
    waiting = [least for least in (one.least, asked.least) if least > 0]
    wanted = one.wanted if wanted is None else wanted
    return msgspec.structs.replace(one, least=min(waiting, default=0), wanted=wanted)


def stub(serial: int, kind: str, holder: str) -> Standing:
    return Standing(
        kind=kind, id=holder, serial=serial, metric="", window=None, models=None, max=0, period=0,
        taken=0, granted=0, wanted=0, idle_ms=0,
    )  # fmt: skip


def scale_of(most: int) -> int:
    scale = 1
    while most // scale > EXACT:
        scale *= 1_000
    return scale


def key_of(one: Standing) -> str:
    """Names the limit alike on every node."""
    window = dict(one.window or {})
    # When the clock of the zone changes next is told by each node as of its start.
    for field in ("shift_us", "shifted_offset_s"):
        window.pop(field, None)
    period = one.period if one.period == EVER else 0
    identity = [one.kind, one.id, one.metric, sorted(window.items()), one.models, period]
    identity += [one.endpoints, one.providers]
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:24]


def until_end(period: int) -> int:
    """ms until the period ends; for ever: a year."""
    if period in (0, EVER):
        return 366 * 86_400_000
    return max(0, period // 1_000 - time.time_ns() // 1_000_000)


def keep_ms(one: Standing, length: int, ttl_ms: int) -> int:
    """How long Redis keeps a limit that nobody mentions; 0: for ever."""
    if length:
        return 2 * length + ttl_ms + MARGIN_MS + REST_MS
    if one.window is None or one.period == EVER:
        return 0
    return until_end(one.period) + ttl_ms + MARGIN_MS + REST_MS
