"""Groups of deployments that were switched to."""

from __future__ import annotations

import msgspec

from ailink.store.database import Queries


class SwitchedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """`active` serves; `previous` did before."""

    model: str
    active: str
    previous: str
    updated_us: int
    updated_by: str


_COLUMNS = SwitchedGroup.__struct_fields__


async def everything(queries: Queries) -> list[SwitchedGroup]:
    rows = await queries.fetch(f"SELECT {', '.join(_COLUMNS)} FROM model_group ORDER BY model")
    return [SwitchedGroup(**{column: row[column] for column in _COLUMNS}) for row in rows]


async def active(queries: Queries) -> dict[str, str]:
    """The groups that serve, by model."""
    return {row.model: row.active for row in await everything(queries)}


async def put(queries: Queries, row: SwitchedGroup, trace_id: str | None) -> None:
    """Call it in a transaction."""
    await queries.execute("DELETE FROM model_group WHERE model = ?", (row.model,))
    await queries.execute(
        "INSERT INTO model_group (model, trace_id, active, previous, updated_us, updated_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (row.model, trace_id, row.active, row.previous, row.updated_us, row.updated_by),
    )
