"""When keys were used last, and from where: the plane of each node knows its own uses, the database all."""

from __future__ import annotations

from collections.abc import Sequence

from ailink.admin.call import MASTER_ID
from ailink.admin.plane import Plane
from ailink.store import key_uses
from ailink.store.database import Database, Queries
from ailink.store.key_uses import KeyUse

# So that a hundred thousand busy keys do not keep other writers waiting.
WRITTEN_AT_ONCE = 2_000


class KeyUses:
    """Writes down what the plane of this process tells. What cannot be written waits, once per key."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._waiting: dict[str, KeyUse] = {}

    async def write(self, database: Database) -> None:
        """Writes down the last uses since the last time. Raises `DatabaseError`; then they wait."""
        for key_id, used_us, address in self._plane.take_key_uses():
            if key_id != MASTER_ID:
                self._waiting[key_id] = KeyUse(key_id=key_id, used_us=used_us, address=address)
        batch = list(self._waiting.values())[:WRITTEN_AT_ONCE]
        await key_uses.note(database, batch)
        for use in batch:
            del self._waiting[use.key_id]


async def last_uses(queries: Queries, plane: Plane, key_ids: Sequence[str]) -> dict[str, KeyUse]:
    """Key id → last use on any node, for those keys that were used. Others tell theirs within seconds."""
    found = await key_uses.of(queries, key_ids)
    for key_id, (used_us, address) in zip(key_ids, plane.last_used(list(key_ids)), strict=True):
        known = found.get(key_id)
        if address is not None and (known is None or used_us > known.used_us):
            found[key_id] = KeyUse(key_id=key_id, used_us=used_us, address=address)
    return found
