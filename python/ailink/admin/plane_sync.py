"""From rows of the database to rows of the data plane, and the order that keeps them equal.

A change is written, given to the plane and committed under the database's write lock, in this order: it is
answered only when it is effective, and the plane sees changes in the order of the commits. When a step fails,
the plane is set back to what the database says, so that neither a key that was never stored nor a block that
was undone stays behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import msgspec

from ailink.admin.cache_fields import key_cache
from ailink.admin.key_access import RouteTable, allowed_networks
from ailink.admin.limit_rules import limit_rules
from ailink.admin.lineage import World
from ailink.admin.plane import KeyRow, Plane
from ailink.admin.subjects import Subject, subject_rows
from ailink.store import keys
from ailink.store.database import Queries
from ailink.store.keys import KeyAccess, KeyRecord

BATCH = 5_000


class PlaneSync:
    """The way to the plane. Calls are made on the event loop, though a new key costs the plane a commit of
    its own: a call in a thread would go on after its caller was cancelled, and could overtake the call that
    sets things right.
    """

    def __init__(self, plane: Plane, routes: RouteTable, now_us: Callable[[], int]) -> None:
        self._plane = plane
        self._routes = routes
        self._now_us = now_us

    async def push_subjects(self, queries: Queries, names: Iterable[Subject]) -> None:
        """Makes the plane hold these subjects as the database has them."""
        wanted = set(names)
        if not wanted:
            return
        rows = await subject_rows(queries, self._now_us(), wanted)
        gone = sorted(wanted - {(row.kind, row.id) for row in rows})
        self._plane.apply_subjects(msgspec.msgpack.encode(rows), msgspec.msgpack.encode(gone))

    async def load_subjects(self, queries: Queries) -> bytes:
        """Every subject as a MessagePack list of `SubjectRow`."""
        return msgspec.msgpack.encode(await subject_rows(queries, self._now_us()))

    async def push(
        self, queries: Queries, key_ids: Iterable[str], digests: Iterable[str], told: set[str]
    ) -> None:
        """Makes the plane hold these keys as the database has them, and none of these digests unless a living
        key has it. `told` gets the digests that are put, before they are.
        """
        wanted = sorted(set(key_ids))
        gone = set(digests)
        for start in range(0, len(wanted), BATCH):
            records = await keys.of(queries, "id", wanted[start : start + BATCH])
            put = {digest for record in records for digest in _digests(record)}
            gone -= put
            told |= put
            await self.put(queries, records)
        if gone:
            self._plane.remove_keys([bytes.fromhex(digest) for digest in sorted(gone)])

    async def put(self, queries: Queries, records: Sequence[KeyAccess]) -> None:
        if records:
            rows = self._rows(await World.of(queries, records), records)
            self._plane.upsert_keys(msgspec.msgpack.encode(rows))

    async def load(self, queries: Queries, first: Sequence[KeyRow]) -> AsyncIterator[bytes]:
        """Every living key as MessagePack lists of `KeyRow`, in batches; `first` goes before them."""
        rows = list(first)
        after = ""
        while records := await keys.living(queries, after, BATCH):
            after = records[-1].id
            rows += self._rows(await World.of(queries, records), records)
            yield msgspec.msgpack.encode(rows)
            rows.clear()
        if rows:
            yield msgspec.msgpack.encode(rows)

    def _rows(self, world: World, records: Iterable[KeyAccess]) -> list[KeyRow]:
        rows = []
        for record in records:
            row = self._row(world, record)
            rows.append(row)
            if record.old_digest is not None and record.old_until_us is not None:
                ends = min(record.old_until_us, record.expires_us or record.old_until_us)
                rows.append(
                    msgspec.structs.replace(row, digest=bytes.fromhex(record.old_digest), expires_us=ends)
                )
        return rows

    def _row(self, world: World, record: KeyAccess) -> KeyRow:
        """The key in the plane's terms."""
        levels = world.levels(record)
        return KeyRow(
            digest=bytes.fromhex(record.digest),
            id=record.id,
            org_id=record.org_id,
            alias=record.alias,
            state="blocked" if record.blocked else "active",
            expires_us=record.expires_us,
            models=world.allowed_models(record),
            endpoints=self._routes.operations(record.routes),
            ip_allow=allowed_networks(record.allowed_ips),
            limits=limit_rules(world.merged(record.all_settings()), self._now_us()),
            subjects=[(level.kind, level.id) for level in levels if level.kind not in ("key", "tag")],
            tags=list(dict.fromkeys(tag for level in levels for tag in level.settings.tags)),
            may_tag=True,
            cache=key_cache(levels),
            guardrails=list(dict.fromkeys(name for level in levels for name in level.settings.guardrails)),
        )


def _digests(record: KeyRecord) -> list[str]:
    return [record.digest] if record.old_digest is None else [record.digest, record.old_digest]
