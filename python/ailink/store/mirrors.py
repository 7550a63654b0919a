"""Rows about requests that went to a mirror too."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store.database import Queries


class MirrorPair(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its mirror. Lengths in characters, `agreement` in thousandths; null: not compared."""

    request_id: str
    mirror_id: str
    model: str
    mirror: str
    deployment: str | None
    mirror_deployment: str | None
    status: int
    mirror_status: int
    length: int | None
    mirror_length: int | None
    agreement: int | None
    at_us: int


_COLUMNS = MirrorPair.__struct_fields__


async def put(queries: Queries, pairs: Sequence[MirrorPair]) -> None:
    marks = ", ".join("?" for _ in _COLUMNS)
    await queries.executemany(
        f"INSERT INTO mirror_pair ({', '.join(_COLUMNS)}) VALUES ({marks})"
        " ON CONFLICT (request_id) DO NOTHING",
        [[getattr(pair, column) for column in _COLUMNS] for pair in pairs],
    )


async def forget(queries: Queries, before_us: int) -> int:
    return await queries.execute("DELETE FROM mirror_pair WHERE at_us < ?", (before_us,))


async def latest(queries: Queries, model: str | None, since_us: int, limit: int) -> list[MirrorPair]:
    """The latest of one model, or of all, newest first."""
    where, params = ("AND model = ?", [model]) if model is not None else ("", [])
    rows = await queries.fetch(
        f"SELECT {', '.join(_COLUMNS)} FROM mirror_pair WHERE at_us >= ? {where} ORDER BY at_us DESC LIMIT ?",
        [since_us, *params, limit],
    )
    return [MirrorPair(**{column: row[column] for column in _COLUMNS}) for row in rows]
