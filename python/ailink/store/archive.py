"""Deleted rows, kept with all that went with them, so that a delete can be taken back."""

from __future__ import annotations

from typing import Any

import msgspec

from ailink.store.database import Queries
from ailink.store.reach import Reach, condition


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """`record`: the row, its memberships and the ids of its keys, as plain values."""

    kind: str
    id: str
    org_id: str | None = None
    trace_id: str | None = None
    deleted_us: int
    deleted_by: str
    record: dict[str, Any]


COLUMNS = Archived.__struct_fields__
_NAMES = ", ".join(COLUMNS)


async def insert(queries: Queries, archived: Archived) -> None:
    values = [getattr(archived, column) for column in COLUMNS[:-1]]
    values.append(msgspec.json.encode(archived.record).decode())
    marks = ", ".join("?" for _ in COLUMNS)
    await queries.execute(f"INSERT INTO archive ({_NAMES}) VALUES ({marks})", values)


async def newest(queries: Queries, reach: Reach, kind: str, row_id: str) -> Archived | None:
    text, params = condition(reach)
    row = await queries.fetchrow(
        f"SELECT {_NAMES} FROM archive WHERE kind = ? AND id = ? AND {text} ORDER BY deleted_us DESC LIMIT 1",
        [kind, row_id, *params],
    )
    return (
        None
        if row is None
        else msgspec.convert({**row, "record": msgspec.json.decode(row["record"])}, Archived)
    )


async def forget(queries: Queries, archived: Archived) -> None:
    await queries.execute(
        "DELETE FROM archive WHERE kind = ? AND id = ? AND deleted_us = ?",
        (archived.kind, archived.id, archived.deleted_us),
    )
