"""What guardrails found and policies did, as the ledger has it: read, and sent to PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from ailink.ledger.reader import LedgerReader

BATCH: Final = 2_048
# Parameters of one question.
MOST_IDS: Final = 500
_COLUMNS: Final = (
    "number", "at_us", "request_id", "policy", "rule", "label", "action", "shadow", "side", "place",
    "matches", "model", "key",
)  # fmt: skip
_LIST: Final = ", ".join(_COLUMNS)
_NEW: Final = f"SELECT {_LIST} FROM verdict WHERE number > ? ORDER BY number LIMIT {BATCH}"
_LATEST: Final = {"sqlite": "number DESC", "postgresql": "at_us DESC, number DESC"}
_TYPES: Final = ("bigint", "bigint", "bytea", "bigint", "text", "text", "text", "bigint", "text", "text",
                 "bigint", "text", "text")  # fmt: skip
_INSERT: Final = (
    f"INSERT INTO verdict (node, {_LIST}) SELECT $1::bigint, * FROM unnest("
    + ", ".join(f"${number}::{name}[]" for number, name in enumerate(_TYPES, 2))
    + ") ON CONFLICT DO NOTHING"
)


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """One row, in the order of its columns; `policy` and `shadow` are 0 or 1, `key` an id."""

    number: int
    at_us: int
    request_id: bytes
    policy: int
    rule: str
    label: str
    action: str
    shadow: int
    side: str
    place: str
    matches: int
    model: str
    key: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What verdicts must be; null: anything."""

    request_id: bytes | None = None
    policy: bool | None = None
    rule: str | None = None
    shadow: bool | None = None
    key: str | None = None


async def of_requests(reader: LedgerReader, request_ids: Sequence[bytes]) -> dict[bytes, list[Verdict]]:
    """By request, in their order. Raises `LedgerError`."""
    found: dict[bytes, list[Verdict]] = {}
    unique = list(dict.fromkeys(request_ids))
    for start in range(0, len(unique), MOST_IDS):
        part = unique[start : start + MOST_IDS]
        marks = ", ".join("?" * len(part))
        sql = f"SELECT {_LIST} FROM verdict WHERE request_id IN ({marks}) ORDER BY at_us, number"
        for verdict in await reader.fetch(sql, part, list[Verdict]):
            found.setdefault(verdict.request_id, []).append(verdict)
    return found


async def latest(reader: LedgerReader, wanted: Wanted, limit: int) -> list[Verdict]:
    """The newest first. Raises `LedgerError`."""
    await reader.catch_up()
    given = {
        name: int(value) if isinstance(value, bool) else value
        for name, value in msgspec.structs.asdict(wanted).items()
        if value is not None
    }
    where = " AND ".join(f"{name} = ?" for name in given) or "1 = 1"
    sql = f"SELECT {_LIST} FROM verdict WHERE {where} ORDER BY {_LATEST[reader.dialect]} LIMIT ?"
    return await reader.fetch(sql, [*given.values(), limit], list[Verdict])


class VerdictShipper:
    """Sends a node's verdicts to PostgreSQL. Their numbers grow: the last one sent tells what is new."""

    def __init__(self, ask: Callable[[str, Sequence[Any]], Awaitable[list[Any]]], node: int) -> None:
        """`ask`: a SELECT to the node's own ledger."""
        self._ask = ask
        self._node = node
        self._sent: int | None = None

    async def once(self, database: Any, connect: Callable[[], Any]) -> None:
        """Sends all that the database lacks."""
        if self._sent is None:
            sql = "SELECT coalesce(max(number), 0) AS sent FROM verdict WHERE node = ?"
            self._sent = int((await database.fetch(sql, (self._node,)))[0]["sent"])
        while rows := await self._ask(_NEW, [self._sent]):
            async with connect() as connection:
                await connection.fetch(_INSERT, self._node, *map(list, zip(*rows, strict=True)))
            self._sent = rows[-1][0]
