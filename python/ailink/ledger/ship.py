"""The node's ledger, sent to PostgreSQL: every row exactly once, however often sending is tried.

The spool's rows go into the node's own `ledger.db` first, as on a single node; that needs no network, and a
crash loses nothing. From there they are sent in batches: COPY into a temporary table, and from it what is not
there yet, with its sums, in one transaction. A row is known by node, number and time, so a batch that was
committed without the node hearing of it changes nothing when it comes again.

Lines of a batch that two nodes have settled, because one took it over from the other, have the same request
id: of two such rows the first that arrives counts, and it is noted that the other one is not missing.

What is missing is found by counts per 65,536 attempt numbers, which both sides keep: rows appear out of order
when a long stream ends, so no watermark would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from ailink.background import end, goes_on
from ailink.ledger.reader import LedgerSource
from ailink.ledger.verdicts import VerdictShipper
from ailink.store.database import DatabaseError

log = logging.getLogger(__name__)

EVERY_S = 0.5
BATCH = 4_096
BUCKET = 16
TIMEOUT_MS = 30_000
# Names a row has, with the kind of each.
NAMES = {
    "org_id": 2, "key_id": 1, "model_id": 3, "deployment_id": 4, "price_id": 5, "team_id": 6, "user_id": 7,
    "project_id": 8, "customer_id": 9, "tags_id": 10,
}  # fmt: skip
COLUMNS = (
    "at_us", "attempt_id", "request_id", "trace_id", *NAMES, "operation", "attempt_no", "flags", "source",
    "status", "class", "input", "output", "cache_read", "cache_write", "reasoning", "audio_input",
    "audio_output", "units", "cost_pico", "duration_us", "ttft_us", "overhead_us", "question",
    "decision",
)  # fmt: skip
_NAMED_AT = {COLUMNS.index(column): kind for column, kind in NAMES.items()}
_FLAGS_AT = COLUMNS.index("flags")
_LIST = ", ".join(COLUMNS)
_ROWS = f"SELECT {_LIST} FROM attempt WHERE attempt_id > ? AND attempt_id <= ? ORDER BY attempt_id LIMIT ?"
_COUNTS = f"SELECT attempt_id >> {BUCKET}, count(*) FROM attempt WHERE attempt_id >= ? GROUP BY 1"
_LAST = "SELECT coalesce(max(attempt_id), 0) FROM attempt"
_BY = "key_id, org_id, team_id, user_id, project_id, customer_id, tags_id, model_id, deployment_id, source"
_COUNTED = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "reasoning",
    "audio_input",
    "audio_output",
    "units",
)
_PICO = 10**12


def summed(rows: str) -> str:
    """The statement that adds these rows of `attempt` to the sums per day."""
    return f"""
        INSERT INTO rollup (day, {_BY}, requests, errors, {", ".join(_COUNTED)}, cost_usd, cost_pico)
        SELECT floor(at_us / 86400000000.0)::bigint, {_BY}, count(*),
            count(*) FILTER (WHERE status >= 400 OR class <> 0),
            {", ".join(f"sum({name})::bigint" for name in _COUNTED)},
            floor(sum(cost_pico::numeric) / {_PICO})::bigint,
            mod(mod(sum(cost_pico::numeric), {_PICO}) + {_PICO}, {_PICO})::bigint
        FROM {rows} GROUP BY 1, {_BY}
        ON CONFLICT (day, {_BY}) DO UPDATE SET
            requests = rollup.requests + excluded.requests, errors = rollup.errors + excluded.errors,
            {", ".join(f"{name} = rollup.{name} + excluded.{name}" for name in _COUNTED)},
            cost_usd = rollup.cost_usd + excluded.cost_usd
                + (rollup.cost_pico + excluded.cost_pico) / {_PICO},
            cost_pico = (rollup.cost_pico + excluded.cost_pico) % {_PICO}
    """


_INSERT = f"""
    WITH fresh AS (
        INSERT INTO attempt (node, {_LIST}) SELECT $1::bigint, {_LIST} FROM arriving
        ON CONFLICT DO NOTHING RETURNING *
    ), summed AS ({summed("fresh")})
    INSERT INTO ledger_sent (node, bucket, rows_sent)
    SELECT $1::bigint, attempt_id >> {BUCKET}, count(*) FROM fresh GROUP BY 2
    ON CONFLICT (node, bucket) DO UPDATE SET rows_sent = ledger_sent.rows_sent + excluded.rows_sent
"""
# Rows of batches, of lines that another node has sent: they are taken out of what arrives, and count as sent.
LINE = 16
_PASS = f"""
    WITH again AS (
        DELETE FROM arriving a WHERE (a.flags & {LINE}) <> 0 AND EXISTS (
            SELECT 1 FROM attempt t WHERE t.request_id = a.request_id AND t.node <> $1::bigint
        ) RETURNING a.attempt_id
    ), noted AS (
        INSERT INTO ledger_passed (node, attempt_id) SELECT $1::bigint, attempt_id FROM again
        ON CONFLICT DO NOTHING RETURNING attempt_id
    )
    INSERT INTO ledger_sent (node, bucket, rows_sent)
    SELECT $1::bigint, attempt_id >> {BUCKET}, count(*) FROM noted GROUP BY 2
    ON CONFLICT (node, bucket) DO UPDATE SET rows_sent = ledger_sent.rows_sent + excluded.rows_sent
"""
# What a batch may take; a connection that is silent for so long is given up.
BATCH_S = 10.0
BEGIN = "BEGIN; SET LOCAL statement_timeout = 9000; SET LOCAL idle_in_transaction_session_timeout = 15000"
MONTH_LOCK = 727_273


class Shared(Protocol):
    """The part of the PostgreSQL store that is used here."""

    def connection(self, begin: str, seconds: float | None = None) -> Any: ...
    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Any]: ...


class Shipper:
    """One per process, where the store is PostgreSQL. `node`: what makes attempts of nodes differ."""

    def __init__(self, source: LedgerSource, database: Shared, node: int) -> None:
        self._source = source
        self._database = database
        self._node = node
        self._names: dict[int, tuple[int, str]] = {}
        self._ids: dict[tuple[int, str], int] = {}
        self._months: set[int] = set()
        self._complete = -1
        self._verdicts = VerdictShipper(self._ask, node)
        self._sending = asyncio.Lock()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Sends what there is, if that is possible now."""
        if self._task is not None:
            await end([self._task])
            with contextlib.suppress(DatabaseError, RuntimeError, TimeoutError):
                async with asyncio.timeout(5.0):
                    await self.once()

    async def _run(self) -> None:
        while goes_on():
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
                if self._failing:
                    log.info("spending is sent to the database again")
                self._failing = False
            # Nothing may end this task: rows would wait here for ever.
            except Exception as error:  # noqa: BLE001
                if not self._failing:
                    log.warning("spending cannot be sent to the database and is kept here: %s", error)
                self._failing = True
                # Another node may have dropped one of them since.
                self._months.clear()

    async def once(self) -> None:
        """Sends all rows that the database lacks. Raises `DatabaseError`, RuntimeError, TimeoutError."""
        async with self._sending:
            await self._attempts()
            await self._verdicts.once(self._database, lambda: self._database.connection(BEGIN, BATCH_S))

    async def _attempts(self) -> None:
        last = (await self._ask(_LAST, []))[0][0]
        since = max(0, self._complete) << BUCKET
        ours = dict(await self._ask(_COUNTS, [since]))
        if not ours:
            return
        theirs = await self._database.fetch(
            "SELECT bucket, rows_sent FROM ledger_sent WHERE node = ? AND bucket >= ?",
            (self._node, since >> BUCKET),
        )
        sent = {row["bucket"]: row["rows_sent"] for row in theirs}
        for bucket, count in sorted(ours.items()):
            if sent.get(bucket, 0) < count:
                await self._send((bucket << BUCKET) - 1, min(last, (bucket + 1 << BUCKET) - 1))
        # Numbers are handed out in blocks, and a stream may end hours after it began: the last thousand
        # buckets are looked at every time, everything at a start.
        self._complete = max(self._complete, max(ours) - 1_024)

    async def _send(self, after: int, end: int) -> None:
        while rows := await self._ask(_ROWS, [after, end, BATCH]):
            after = rows[-1][1]
            await self._translate(rows)
            await self._open_months(rows)
            async with self._database.connection(BEGIN, BATCH_S) as connection:
                await connection.execute("CREATE TEMP TABLE arriving (LIKE attempt) ON COMMIT DROP")
                await connection.execute("ALTER TABLE arriving ALTER COLUMN node DROP NOT NULL")
                await connection.copy_records_to_table("arriving", records=rows, columns=COLUMNS)
                # Sums that two nodes add to at once are locked in one order.
                await connection.execute("SELECT pg_advisory_xact_lock(727274)")
                if any(row[_FLAGS_AT] & LINE for row in rows):
                    await connection.fetch(_PASS, self._node)
                await connection.fetch(_INSERT, self._node)

    async def _translate(self, rows: list[list[Any]]) -> None:
        """This node's numbers of names into the database's."""
        wanted = {row[at] for row in rows for at in _NAMED_AT if row[at]}
        lacking = sorted(wanted - self._names.keys())
        for start in range(0, len(lacking), 500):
            part = lacking[start : start + 500]
            marks = ", ".join("?" for _ in part)
            found = await self._ask(f"SELECT id, kind, text FROM dict WHERE id IN ({marks})", part)
            self._names |= {number: (kind, text) for number, kind, text in found}
        unknown = sorted({self._names[number] for number in wanted} - self._ids.keys())
        if unknown:
            kinds, texts = [kind for kind, _ in unknown], [text for _, text in unknown]
            async with self._database.connection(BEGIN, BATCH_S) as connection:
                await connection.fetch(
                    "INSERT INTO dict (kind, text) SELECT * FROM unnest($1::bigint[], $2::text[]) "
                    "ON CONFLICT DO NOTHING",
                    kinds,
                    texts,
                )
                found = await connection.fetch(
                    "SELECT d.id, d.kind, d.text FROM dict d "
                    "JOIN unnest($1::bigint[], $2::text[]) AS w (kind, text) USING (kind, text)",
                    kinds,
                    texts,
                )
            self._ids |= {(row["kind"], row["text"]): row["id"] for row in found}
        for row in rows:
            for at in _NAMED_AT:
                if row[at]:
                    row[at] = self._ids[self._names[row[at]]]

    async def _open_months(self, rows: list[list[Any]]) -> None:
        """A partition for each month that rows are of."""
        times = {row[0] for row in rows}
        for at in {month_of(time) for time in (min(times), max(times))} | {month_of(time) for time in times}:
            if at in self._months:
                continue
            begin, end = month(at), month(at + 1)
            name = f"attempt_{at // 12:04d}{at % 12 + 1:02d}"
            async with self._database.connection(BEGIN, BATCH_S) as connection:
                await connection.fetch("SELECT pg_advisory_xact_lock($1)", MONTH_LOCK)
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF attempt "
                    f"FOR VALUES FROM ({begin}) TO ({end})"
                )
            self._months.add(at)

    async def _ask(self, sql: str, params: Sequence[Any]) -> list[Any]:
        packed = msgspec.msgpack.encode(params)
        answer = await asyncio.to_thread(self._source.ledger_query, sql, packed, TIMEOUT_MS)
        return msgspec.msgpack.decode(answer, type=list[Any])


def month_of(at_us: int) -> int:
    """Months since year 0, UTC."""
    day = datetime.fromtimestamp(at_us / 1_000_000, UTC)
    return day.year * 12 + day.month - 1


def month(number: int) -> int:
    """Its first microsecond, since 1970."""
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
