"""What goes to the script and to the data plane, and how a limit is named and counted between nodes."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec

# Lua's JSON writes 14 digits of a number; larger limits are counted in coarser grains.
EXACT = 10**13
# Redis reclaims this much later than the node stops using its leases.
MARGIN_MS = 5_000


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
    taken: int
    granted: int
    want: int
    least: int
    ahead: int
    good: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    granted: int
    status: str
    renewed: int
    recall: bool
    free: int
    elsewhere: int = 0


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


def scale_of(most: int) -> int:
    scale = 1
    while most // scale > EXACT:
        scale *= 1_000
    return scale


def key_of(one: Standing) -> str:
    """Names the limit, and its period, alike on every node."""
    window = dict(one.window or {})
    # When the clock of the zone changes next is told by each node as of its start.
    for field in ("shift_us", "shifted_offset_s"):
        window.pop(field, None)
    identity = [one.kind, one.id, one.metric, sorted(window.items()), one.models, one.period]
    identity += [one.endpoints, one.providers]
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:24]


def until_end(period: int) -> int:
    """ms until the period ends; for ever: a year."""
    if period == 0 or period >= 2**63 - 1:
        return 366 * 86_400_000
    return max(0, period // 1_000 - time.time_ns() // 1_000_000)


def keep_ms(one: Standing, length: int, ttl_ms: int) -> int:
    """How long Redis keeps a limit that nobody mentions; 0: for ever."""
    if length:
        return 2 * length + ttl_ms + MARGIN_MS
    if one.window is None or one.period >= 2**63 - 1:
        return 0
    return until_end(one.period) + ttl_ms + MARGIN_MS
