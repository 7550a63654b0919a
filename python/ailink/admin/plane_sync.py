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
from ailink.admin.key_access import RouteTable, allowed_networks, meet
from ailink.admin.limit_rules import limit_rules
from ailink.admin.lineage import World
from ailink.admin.plane import KeyRow, Plane
from ailink.admin.subjects import Subject, subject_rows
from ailink.store import client_secrets, keys
from ailink.store.database import Queries
from ailink.store.keys import KeyAccess, KeyRecord

BATCH = 5_000
# What a key for a while may do.
SESSION = "realtime"


class PlaneSync:
    """The way to the plane. Calls are made on the event loop, though a new key costs the plane a commit of
    its own: a call in a thread would go on after its caller was cancelled, and could overtake the call that
    sets things right.
    """

    def __init__(self, plane: Plane, routes: RouteTable, now_us: Callable[[], int]) -> None:
        self._plane = plane
        self._routes = routes
        self._now_us = now_us
        # Keys for a while that the plane holds: digest, whose it is and when it ends.
        self._brief: dict[str, tuple[str, int]] = {}

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
            living = {record.id for record in records}
            gone |= self._orphans(set(wanted[start : start + BATCH]) - living)
        if gone:
            self._plane.remove_keys([bytes.fromhex(digest) for digest in sorted(gone)])

    async def put(self, queries: Queries, records: Sequence[KeyAccess]) -> None:
        if records:
            rows = await self._all_rows(queries, records)
            self._plane.upsert_keys(msgspec.msgpack.encode(rows))

    async def load(self, queries: Queries, first: Sequence[KeyRow]) -> AsyncIterator[bytes]:
        """Every living key as MessagePack lists of `KeyRow`, in batches; `first` goes before them."""
        rows = list(first)
        after = ""
        while records := await keys.living(queries, after, BATCH):
            after = records[-1].id
            rows += await self._all_rows(queries, records)
            yield msgspec.msgpack.encode(rows)
            rows.clear()
        if rows:
            yield msgspec.msgpack.encode(rows)

    def forget_ended(self) -> None:
        """Takes keys for a while that have ended out of the plane."""
        now = self._now_us()
        ended = sorted(digest for digest, (_, ends) in self._brief.items() if ends <= now)
        if ended:
            self._plane.remove_keys([bytes.fromhex(digest) for digest in ended])
            for digest in ended:
                del self._brief[digest]

    def _orphans(self, gone: set[str]) -> set[str]:
        """Digests of keys for a while that stand for keys which are gone."""
        found = {digest for digest, (key_id, _) in self._brief.items() if key_id in gone}
        for digest in found:
            del self._brief[digest]
        return found

    async def _all_rows(self, queries: Queries, records: Sequence[KeyAccess]) -> list[KeyRow]:
        """The keys, and those that stand for them for a while."""
        rows = self._rows(await World.of(queries, records), records)
        by_id = {row.id: row for row in reversed(rows)}
        for secret in await client_secrets.of(queries, list(by_id), self._now_us()):
            row = by_id[secret.key_id]
            may = row.endpoints is None or SESSION in row.endpoints
            self._brief[secret.digest] = (secret.key_id, secret.expires_us)
            rows.append(
                msgspec.structs.replace(
                    row,
                    digest=bytes.fromhex(secret.digest),
                    expires_us=min(secret.expires_us, row.expires_us or secret.expires_us),
                    models=meet(row.models, [secret.model]),
                    endpoints=[SESSION] if may else [],
                    # Who connects with it is not who asked for it.
                    ip_allow=None,
                    stands_for=row.digest.hex(),
                )
            )
        return rows

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
