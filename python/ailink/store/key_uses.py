"""When virtual keys were used last, and from where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ailink.store.database import Queries

# Nodes tell of the same keys, and not in the order of the uses.
_UPSERT = (
    "INSERT INTO key_use (key_id, used_us, address) VALUES (?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET"
    " used_us = excluded.used_us, address = excluded.address WHERE excluded.used_us > key_use.used_us"
)


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """A key's last use, µs since 1970, and the address of who used it."""

    key_id: str
    used_us: int
    address: str


async def note(queries: Queries, uses: Iterable[KeyUse]) -> None:
    """Remembers each that is later than what is known of its key."""
    # In one order on all nodes: two that hold rows of each other would wait for ever.
    rows = sorted((use.key_id, use.used_us, use.address) for use in uses)
    if rows:
        await queries.executemany(_UPSERT, rows)


async def of(queries: Queries, key_ids: Sequence[str]) -> dict[str, KeyUse]:
    """Key id → last use, for those keys that were used."""
    if not key_ids:
        return {}
    marks = ", ".join("?" for _ in key_ids)
    sql = f"SELECT key_id, used_us, address FROM key_use WHERE key_id IN ({marks})"
    return {row["key_id"]: KeyUse(**row) for row in await queries.fetch(sql, key_ids)}
