"""Questions to the ledger, asked through the data plane.

The ledger's file belongs to the SQLite library inside the data plane. A second copy of SQLite in the same
process (Python's) must not open it: POSIX locks are the process's, so the copies would not see each other's,
and closing a descriptor in one would drop the locks of the other (https://www.sqlite.org/howtocorrupt.html,
2.2.1). So Python sends SQL and gets rows.

The table has no secondary index, because it is written per request and read by people. A request is found by
its time, which stands in its id; all else scans from the newest row back, within a time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

TIMEOUT_MS = 5_000
FLUSH_S = 1.0
REQUEST_ID = re.compile(r"(?:req_)?([0-9a-f]{32})")
KEY_KIND = 1
# Attempts of one request lie within this time; the longest default time-out is an hour.
LONGEST_REQUEST_US = 4 * 3_600 * 1_000_000
# Numbers are handed to I/O threads in blocks of 64, so neighbours in time may be this far apart.
DISORDER = 64 * 1024
PICO = 10**12
# SUM of whole pico-USD leaves 64 bits after nine million rows; two halves do not.
HALF = 10**6

T = TypeVar("T")
Dialect = Literal["sqlite", "postgresql"]


class LedgerSource(Protocol):
    """The part of the data plane that this module uses."""

    def flush(self, timeout_s: float) -> None:
        """Waits until all that was settled so far stands in the ledger; blocks. RuntimeError: not in time."""

    def ledger_query(self, sql: str, params: bytes, timeout_ms: int) -> bytes:
        """Runs one SELECT; blocks. MessagePack list of rows. Raises TimeoutError, RuntimeError."""


class LedgerError(Exception):
    """The ledger could not be read, or not in time."""


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One upstream attempt, in the order of `_COLUMNS`; names in place of numbers, pico-USD, µs."""

    attempt_id: int
    request_id: bytes
    key_id: str | None
    model: str | None
    deployment: str | None
    price_version: str | None
    operation: int
    attempt_no: int
    flags: int
    source: int
    status: int
    outcome: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    audio_input: int
    audio_output: int
    units: int
    cost_pico: int
    at_us: int
    duration_us: int
    ttft_us: int
    overhead_us: int
    organization: str | None
    team: str | None
    user: str | None
    project: str | None
    customer: str | None
    tags: str | None
    """A JSON list."""
    decision: int = 0
    """How its deployment was chosen, see `ailink.config.routing.decision`."""


class Took(msgspec.Struct, frozen=True, array_like=True):
    """What all attempts of one request took: pico-USD, µs; the first byte of the fastest."""

    request_id: str
    attempts: int
    cost_pico: int
    output: int
    duration_us: int
    ttft_us: int | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over attempts; exact."""

    attempts: int
    errors: int
    input: int
    output: int
    cost_pico: int


_COLUMNS = """
    a.attempt_id, a.request_id, k.text, m.text, d.text, p.text, a.operation, a.attempt_no, a.flags, a.source,
    a.status, a.class, a.input, a.output, a.cache_read, a.cache_write, a.reasoning, a.audio_input,
    a.audio_output, a.units, a.cost_pico, a.at_us, a.duration_us, a.ttft_us, a.overhead_us,
    o.text, t.text, u.text, j.text, c.text, g.text, a.decision
"""
ATTEMPTS = f"""
    SELECT {_COLUMNS} FROM attempt a
    LEFT JOIN dict k ON k.id = a.key_id
    LEFT JOIN dict m ON m.id = a.model_id
    LEFT JOIN dict d ON d.id = a.deployment_id
    LEFT JOIN dict p ON p.id = a.price_id
    LEFT JOIN dict o ON o.id = a.org_id
    LEFT JOIN dict t ON t.id = a.team_id
    LEFT JOIN dict u ON u.id = a.user_id
    LEFT JOIN dict j ON j.id = a.project_id
    LEFT JOIN dict c ON c.id = a.customer_id
    LEFT JOIN dict g ON g.id = a.tags_id
"""
# On one node numbers grow with time; those of several nodes have nothing to do with each other.
_LATEST = {"sqlite": "a.attempt_id DESC", "postgresql": "a.at_us DESC, a.attempt_id DESC"}
_NEWEST = f"{ATTEMPTS} ORDER BY {{}} LIMIT ?"
_OF = f"{ATTEMPTS} WHERE a.{{column}} = ? {{more}} ORDER BY {{order}} LIMIT ?"
# Attempts are indexed by key there: the sums say which keys the user has ever spent with.
_BY_KEYS = "AND a.key_id = ANY(ARRAY(SELECT DISTINCT r.key_id FROM rollup r WHERE r.user_id = ?))"
_OF_REQUEST = (
    f"{ATTEMPTS} WHERE a.request_id = ? AND a.attempt_id BETWEEN ? AND ? ORDER BY a.attempt_id LIMIT ?"
)
_COSTS = """
    SELECT lower(hex(request_id)), sum(cost_pico) FROM attempt
    WHERE attempt_id >= ? AND lower(hex(request_id)) IN (SELECT value FROM json_each(?)) GROUP BY request_id
"""
_TOOK = """
    SELECT lower(hex(request_id)), count(*), sum(cost_pico), sum(output), sum(duration_us),
        min(CASE WHEN ttft_us > 0 THEN ttft_us END)
    FROM attempt WHERE attempt_id >= ? AND lower(hex(request_id)) IN (SELECT value FROM json_each(?))
    GROUP BY request_id
"""
_NUMBER = "SELECT id FROM dict WHERE kind = ? AND text = ?"
# The first attempt_id at or after a time, by halving: attempt_id grows with time.
_MIDDLE = "(low + (high - low) / 2)"
_EARLY = f"?1 > (SELECT at_us FROM attempt WHERE attempt_id >= {_MIDDLE} ORDER BY attempt_id LIMIT 1)"
_FIRST_AT = f"""
    WITH RECURSIVE halving (low, high) AS (
        SELECT min(attempt_id), max(attempt_id) + 1 FROM attempt
        UNION ALL
        SELECT iif({_EARLY}, {_MIDDLE} + 1, low), iif({_EARLY}, high, {_MIDDLE}) FROM halving WHERE low < high
    )
    SELECT low FROM halving WHERE low >= high
"""
_TOTALS = f"""
    SELECT sum(requests), sum(errors), sum(input), sum(output),
        sum(cost_usd), sum(cost_pico / {HALF}), sum(cost_pico % {HALF})
    FROM rollup
"""


# Whose sums there are: the kind of their names, and the column.
_HOLDERS = {
    "key": (KEY_KIND, "key_id"), "organization": (2, "org_id"), "team": (6, "team_id"),
    "user": (7, "user_id"), "project": (8, "project_id"), "customer": (9, "customer_id"),
}  # fmt: skip


class LedgerReader:
    """Reads rows and sums. All methods raise `LedgerError`."""

    def __init__(self, source: LedgerSource) -> None:
        self.source = source
        self.dialect: Dialect = getattr(source, "dialect", "sqlite")

    async def newest(self, limit: int) -> list[Attempt]:
        """The latest attempts, newest first."""
        await self.catch_up()
        return await self.fetch(_NEWEST.format(_LATEST[self.dialect]), [limit], list[Attempt])

    async def of_holder(self, holder: Literal["key", "user"], name: str, limit: int) -> list[Attempt]:
        """The latest attempts of one key or user, newest first."""
        await self.catch_up()
        kind, column = _HOLDERS[holder]
        number = await self.fetch(_NUMBER, [kind, name], list[tuple[int]])
        if not number:
            return []
        indirect = holder == "user" and self.dialect == "postgresql"
        sql = _OF.format(column=column, more=_BY_KEYS if indirect else "", order=_LATEST[self.dialect])
        params = [number[0][0]] * (2 if indirect else 1)
        return await self.fetch(sql, [*params, limit], list[Attempt])

    async def of_request(self, request_id: str, limit: int) -> list[Attempt]:
        """All attempts of one request, in their order; empty for what is no request id of ours."""
        match = REQUEST_ID.fullmatch(request_id.lower())
        if match is None:
            return []
        raw = bytes.fromhex(match[1])
        started_us = int.from_bytes(raw[:6], "big") * 1_000
        await self.catch_up()
        first = await self._first_at(started_us)
        last = await self._first_at(started_us + LONGEST_REQUEST_US)
        if first is None or last is None:
            return []
        near = await self.fetch(_OF_REQUEST, [raw, first - DISORDER, last + DISORDER, limit], list[Attempt])
        # An idle thread may have held old numbers for long; then only the whole table tells.
        return near or await self.fetch(_OF_REQUEST, [raw, 0, 2**63 - 1, limit], list[Attempt])

    async def costs_of(self, request_ids: Sequence[str]) -> dict[str, int]:
        """What requests cost in all their attempts, pico-USD; those without a row are left out."""
        rows = await self._of_all(_COSTS, request_ids, list[tuple[str, int]])
        return {f"req_{request_id}": cost for request_id, cost in rows}

    async def took(self, request_ids: Sequence[str]) -> dict[str, Took]:
        """What requests took in all their attempts; those without a row are left out."""
        rows = await self._of_all(_TOOK, request_ids, list[Took])
        return {f"req_{row.request_id}": row for row in rows}

    async def _of_all(self, sql: str, request_ids: Sequence[str], rows: type[list[T]]) -> list[T]:
        matches = [match for one in request_ids if (match := REQUEST_ID.fullmatch(one.lower())) is not None]
        if not matches:
            return []
        await self.catch_up()
        oldest = min(int(match[1][:12], 16) for match in matches) * 1_000
        named = msgspec.json.encode([match[1] for match in matches]).decode()
        return await self.fetch(sql, [await self.near(oldest), named], rows)

    async def totals(self) -> Totals:
        """Everything that was ever spent."""
        await self.catch_up()
        rows = await self.fetch(_TOTALS, [], list[list[int | None]])
        attempts, errors, input_, output, usd, high, low = (
            (value or 0) for value in (rows[0] if rows else [0] * 7)
        )
        return Totals(
            attempts=attempts,
            errors=errors,
            input=input_,
            output=output,
            cost_pico=usd * PICO + high * HALF + low,
        )

    async def over_nodes(self, kind: str, ids: Sequence[str]) -> dict[str, int]:
        """Id → pico-USD over all nodes, as far as their rows have come here; empty where a node keeps its
        ledger for itself.
        """
        if self.dialect != "postgresql" or kind not in _HOLDERS or not ids:
            return {}
        number, column = _HOLDERS[kind]
        marks = ", ".join("?" * len(ids))
        sql = (
            "SELECT d.text, sum(r.cost_usd), sum(r.cost_pico) FROM dict d "
            f"JOIN rollup r ON r.{column} = d.id WHERE d.kind = ? AND d.text IN ({marks}) GROUP BY d.text"
        )
        rows = await self.fetch(sql, [number, *ids], list[tuple[str, int, int]])
        return {name: usd * PICO + pico for name, usd, pico in rows}

    async def catch_up(self) -> None:
        """Waits for what was settled so far to be in the ledger, as long as that is worth it."""
        # A caller asks for the request he has just made. A ledger that is behind answers with what it has.
        with contextlib.suppress(RuntimeError):
            await asyncio.to_thread(self.source.flush, FLUSH_S)

    async def near(self, at_us: int) -> int:
        """A number below which no attempt began at `at_us` or later."""
        first = await self._first_at(at_us)
        return 0 if first is None else first - DISORDER

    async def _first_at(self, at_us: int) -> int | None:
        if self.dialect == "postgresql":
            # Times are indexed there, numbers say nothing.
            return 0
        rows = await self.fetch(_FIRST_AT, [at_us], list[tuple[int]])
        return rows[0][0] if rows else None

    async def fetch(self, sql: str, params: Sequence[Any], rows: type[T], timeout_ms: int = TIMEOUT_MS) -> T:
        """One SELECT."""
        packed = msgspec.msgpack.encode(params)
        try:
            answer = await asyncio.to_thread(self.source.ledger_query, sql, packed, timeout_ms)
        except TimeoutError as error:
            raise LedgerError(f"the ledger did not answer within {timeout_ms // 1_000} s") from error
        except RuntimeError as error:
            raise LedgerError("the ledger cannot be read") from error
        return msgspec.msgpack.decode(answer, type=rows)
