"""The audit log: append-only rows, each carrying the hash of the row before it.

`hash = SHA-256(prev_hash ‖ canonical JSON of the row)`. An edited, removed, inserted or reordered row breaks
the chain at that place; a truncated end is found only by comparing with a head (`seq`, `hash`) that was kept
elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ailink.store.database import Queries, Row, Value
from ailink.store.reach import Reach, condition

GENESIS = "0" * 64
# Below every seq that a forger could insert before row 1.
LOWEST = -(2**63)
BATCH = 1_000
# Every column but the hash, in the order in which they are hashed.
SIGNED = (
    "prev_hash",
    "seq",
    "org_id",
    "trace_id",
    "at_us",
    "actor",
    "actor_ip",
    "action",
    "object_type",
    "object_id",
    "detail",
)

_SHOWN = ", ".join((*(column for column in SIGNED if column != "prev_hash"), "hash"))


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which object. `detail` holds nothing secret."""

    org_id: str | None = None
    trace_id: str | None = None
    at_us: int
    actor: str
    actor_ip: str | None = None
    action: str
    object_type: str
    object_id: str
    detail: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it is read."""

    seq: int
    org_id: str | None
    trace_id: str | None
    at_us: int
    actor: str
    actor_ip: str | None
    action: str
    object_type: str
    object_id: str
    detail: dict[str, Any]
    hash: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Columns with one of several values, and a range of time in µs; `end_us` not included."""

    one_of: Mapping[str, Collection[Value]] = {}
    start_us: int | None = None
    end_us: int | None = None


class Head(NamedTuple):
    """The last row of the chain; `seq` is 0 when there is none."""

    seq: int
    hash: str


class BrokenChainError(Exception):
    """The log was tampered with; `seq` is the first row that does not fit."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"audit row {seq}: {reason}")
        self.seq = seq
        self.reason = reason


async def append(queries: Queries, event: AuditEvent) -> Head:
    """Adds a row. Call it in the transaction of the change it records: both or neither."""
    last = await head(queries)
    row: dict[str, Any] = {
        **msgspec.structs.asdict(event),
        "detail": msgspec.json.encode(event.detail, order="deterministic").decode(),
        "seq": last.seq + 1,
        "prev_hash": last.hash,
    }
    digest = _hash(row)
    marks = ", ".join("?" for _ in SIGNED)
    await queries.execute(
        f"INSERT INTO audit ({', '.join(SIGNED)}, hash) VALUES ({marks}, ?)",
        [*(row[column] for column in SIGNED), digest],
    )
    return Head(last.seq + 1, digest)


async def head(queries: Queries) -> Head:
    row = await queries.fetchrow("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
    return Head(0, GENESIS) if row is None else Head(row["seq"], row["hash"])


async def verify(queries: Queries) -> Head:
    """Walks the whole chain and returns its head. Raises `BrokenChainError` at the first row that does not
    fit.
    """
    last = Head(0, GENESIS)
    after = LOWEST
    while rows := await queries.fetch(
        "SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, BATCH)
    ):
        # Not on the loop that answers requests: a batch takes milliseconds.
        last = await asyncio.to_thread(_all_checked, rows, last)
        after = last.seq
    return last


async def find(
    queries: Queries, reach: Reach, wanted: Wanted, limit: int, offset: int = 0, *, descending: bool = True
) -> list[Entry]:
    """Rows of what the caller may see, in the order in which they were written."""
    text, params = _condition(reach, wanted)
    order = "DESC" if descending else "ASC"
    sql = f"SELECT {_SHOWN} FROM audit WHERE {text} ORDER BY seq {order} LIMIT ? OFFSET ?"
    return [
        msgspec.convert({**row, "detail": msgspec.json.decode(row["detail"])}, Entry)
        for row in await queries.fetch(sql, [*params, limit, offset])
    ]


async def count(queries: Queries, reach: Reach, wanted: Wanted) -> int:
    text, params = _condition(reach, wanted)
    row = await queries.fetchrow(f"SELECT COUNT(*) AS rows_found FROM audit WHERE {text}", params)
    return 0 if row is None else int(row["rows_found"])


def _condition(reach: Reach, wanted: Wanted) -> tuple[str, list[Value]]:
    text, params = condition(reach)
    for column, values in wanted.one_of.items():
        text += f" AND {column} IN ({', '.join('?' * len(values))})" if values else " AND 1 = 0"
        params += values
    for comparison, at_us in ((">=", wanted.start_us), ("<", wanted.end_us)):
        if at_us is not None:
            text += f" AND at_us {comparison} ?"
            params.append(at_us)
    return text, params


def _all_checked(rows: Sequence[Row], last: Head) -> Head:
    for row in rows:
        last = _checked(row, last)
    return last


def _checked(row: Row, last: Head) -> Head:
    seq = row["seq"]
    if seq != last.seq + 1:
        raise BrokenChainError(seq, f"stands where row {last.seq + 1} belongs")
    if row["prev_hash"] != last.hash:
        raise BrokenChainError(seq, "does not follow the row before it")
    if row["hash"] != _hash(row):
        raise BrokenChainError(seq, "was changed")
    return Head(seq, row["hash"])


def _hash(row: Row) -> str:
    # A JSON array of strings, integers and nulls has one encoding, so two different rows cannot hash alike.
    return hashlib.sha256(msgspec.json.encode([row[column] for column in SIGNED])).hexdigest()
