"""Keeps the data plane's key table equal to the database.

A change is written, given to the plane and committed under the database's write lock, in this order: it is
answered only when it is effective, and the plane sees changes in the order of the commits. When a step fails,
the plane is set back to what the database says, so that neither a key that was never stored nor a block that
was undone stays behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec

from ailink.admin.errors import bad_request
from ailink.admin.key_access import RouteTable, allowed_models, allowed_networks
from ailink.admin.plane import KeyRow, Plane
from ailink.snapshot import rules
from ailink.store import keys
from ailink.store.database import ConflictError, Database, Queries
from ailink.store.keys import KeyAccess, KeyRecord


class Change:
    """One change in progress: statements of its transaction, and what it told the plane."""

    def __init__(self, queries: Queries, sync: KeySync) -> None:
        self.queries = queries
        self._sync = sync
        self.told: list[KeyRecord] = []

    def put(self, record: KeyRecord) -> None:
        """Gives the plane a new or changed key."""
        self.told.append(record)
        self._sync.put([record])

    def drop(self, records: Sequence[KeyRecord]) -> None:
        """Takes keys, or former secrets of keys, from the plane."""
        self.told.extend(records)
        self._sync.drop(records)


class KeySync:
    """The way from key records to the plane."""

    def __init__(self, database: Database, plane: Plane, routes: RouteTable) -> None:
        self._database = database
        self._plane = plane
        self._routes = routes

    def row(self, record: KeyAccess) -> KeyRow:
        """The key in the plane's terms."""
        return KeyRow(
            digest=bytes.fromhex(record.digest),
            id=record.id,
            org_id=record.org_id,
            alias=record.alias,
            state="blocked" if record.blocked else "active",
            expires_us=record.expires_us,
            models=allowed_models(record.models),
            endpoints=self._routes.operations(record.routes),
            ip_allow=allowed_networks(record.allowed_ips),
            limits=rules.of_rates(rpm=record.rpm_limit, parallel=record.max_parallel),
        )

    # On the event loop, though a new key costs the plane a commit of its own: a call in a thread would go on
    # after its caller was cancelled, and could overtake the call that sets things right.

    def put(self, records: Iterable[KeyRecord]) -> None:
        self._plane.upsert_keys(msgspec.msgpack.encode([self.row(record) for record in records]))

    def drop(self, records: Iterable[KeyRecord]) -> None:
        self._plane.remove_keys([bytes.fromhex(record.digest) for record in records])

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """A change of keys, all or nothing, in the database and in the plane. Raises `ApiError` for a taken
        key or alias.
        """
        change = None
        try:
            async with self._database.transaction() as queries:
                change = Change(queries, self)
                yield change
        except BaseException as error:
            if change is not None and change.told:
                await self._restore(change.told)
            if isinstance(error, ConflictError):
                raise _taken(error) from error
            raise

    async def _restore(self, told: Sequence[KeyRecord]) -> None:
        # Read under the write lock: a later change may not be overtaken by this older truth.
        async with self._database.transaction() as queries:
            current = {record.id: await keys.by_id(queries, record.id) for record in told}
            living = [
                record for record in current.values() if record is not None and record.deleted_us is None
            ]
            digests = {record.digest for record in living}
            self.drop([record for record in told if record.digest not in digests])
            self.put(living)


def _taken(error: ConflictError) -> Exception:
    if "alias" in str(error):
        return bad_request("a key with this alias exists already", param="key_alias", code="key_alias_exists")
    return bad_request("this key exists already", param="key", code="key_exists")
