"""What providers billed per day and model, beside what the ledger had when the bill came."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store.database import Queries


class BillRow(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts in pico-USD; `day` since 1970. `agrees`: the difference is within what was allowed."""

    provider: str
    day: int
    model: str
    trace_id: str | None = None
    billed_pico: int
    recorded_pico: int
    agrees: bool
    deployments: tuple[str, ...]
    at_us: int
    by_whom: str


_COLUMNS = BillRow.__struct_fields__
_KEY = ("provider", "day", "model")


async def put(queries: Queries, provider: str, days: tuple[int, int], rows: Sequence[BillRow]) -> None:
    """In place of what was known of these days (the last one counted in). Call it in a transaction."""
    await queries.execute("DELETE FROM bill WHERE provider = ? AND day BETWEEN ? AND ?", (provider, *days))
    marks = ", ".join("?" for _ in _COLUMNS)
    # The same bill may be on its way twice: the later one counts.
    later = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS if column not in _KEY)
    await queries.executemany(
        f"INSERT INTO bill ({', '.join(_COLUMNS)}) VALUES ({marks})"
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {later}",
        [_values(row) for row in rows],
    )


async def between(queries: Queries, first: int, last: int, provider: str | None = None) -> list[BillRow]:
    """By day, provider and model; the last day is counted in."""
    where, params = ("AND provider = ?", [provider]) if provider is not None else ("", [])
    rows = await queries.fetch(
        f"SELECT {', '.join(_COLUMNS)} FROM bill WHERE day BETWEEN ? AND ? {where}"
        " ORDER BY day, provider, model",
        [first, last, *params],
    )
    return [
        BillRow(
            **{column: row[column] for column in _COLUMNS if column not in ("agrees", "deployments")},
            agrees=bool(row["agrees"]),
            deployments=tuple(msgspec.json.decode(row["deployments"], type=list[str])),
        )
        for row in rows
    ]


async def agreed(queries: Queries, first: int, last: int) -> set[tuple[int, str]]:
    """Days and deployments whose attempts are reconciled."""
    rows = await between(queries, first, last)
    return {(row.day, deployment) for row in rows if row.agrees for deployment in row.deployments}


def _values(row: BillRow) -> list[str | int | None]:
    values = {column: getattr(row, column) for column in _COLUMNS}
    values |= {"agrees": int(row.agrees), "deployments": msgspec.json.encode(row.deployments).decode()}
    return list(values.values())
