"""Virtual keys: found, made, changed, blocked, rotated, deleted."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec

from ailink.admin.call import MASTER_ID, Caller
from ailink.admin.errors import ApiError, bad_request, not_found
from ailink.admin.key_access import RouteTable
from ailink.admin.key_columns import audited, columns_of, difference
from ailink.admin.key_digests import KeyDigests, display, new_key
from ailink.admin.key_fields import GenerateKey, KeyChanges
from ailink.admin.key_sync import Change, KeySync
from ailink.admin.plane import KeyRow, Plane
from ailink.store import audit, keys
from ailink.store.database import Database, Queries
from ailink.store.keys import KeyFilter, KeyRecord, Page

LOAD_BATCH = 10_000


class KeyService:
    """All that happens to virtual keys. `now_us` is the clock, µs since 1970; `master` the digest of the
    master key.
    """

    def __init__(
        self,
        database: Database,
        plane: Plane,
        routes: RouteTable,
        digests: KeyDigests,
        master: bytes | None,
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._plane = plane
        self._routes = routes
        self._digests = digests
        self._master = master
        self._sync = KeySync(database, plane, routes)
        self.now_us = now_us

    async def find(self, name: str) -> KeyRecord | None:
        """The key that `name` stands for, archived ones included."""
        return await keys.by_digest(self._database, *self._digests.candidates(name))

    def is_master(self, name: str) -> bool:
        """Whether `name` is the master key; it has no record."""
        return name == MASTER_ID or (
            self._master is not None and self._master.hex() in self._digests.candidates(name)
        )

    async def by_id(self, key_id: str) -> KeyRecord | None:
        return await keys.by_id(self._database, key_id)

    async def tokens(self, key_ids: Iterable[str]) -> dict[str, str]:
        """Key id → token, for those keys that exist."""
        return {
            record.id: record.digest for record in await keys.by_ids(self._database, sorted(set(key_ids)))
        }

    async def page(self, wanted: KeyFilter, page: Page) -> tuple[list[KeyRecord], int]:
        """One page, and how many keys there are in all."""
        return await keys.find(self._database, wanted, page), await keys.count(self._database, wanted)

    async def routes_of(self, key_id: str) -> Sequence[str]:
        """The key's `allowed_routes`; empty when it is not limited to some."""
        record = await self.by_id(key_id)
        return () if record is None else record.routes

    def spend(self, records: Iterable[KeyRecord]) -> list[int]:
        """Pico-USD of each key."""
        return self._plane.spend([record.id for record in records])

    def last_used(self, record: KeyRecord) -> int:
        """µs since 1970; 0: not since the gateway started."""
        return self._plane.last_used([record.id])[0]

    async def load(self) -> AsyncIterator[bytes]:
        """Every living key as MessagePack lists of `KeyRow`, in batches; the master key is in the first."""
        rows = [] if self._master is None else [KeyRow(digest=self._master, id=MASTER_ID, role="admin")]
        after = ""
        while records := await keys.living(self._database, after, LOAD_BATCH):
            after = records[-1].id
            rows.extend(self._sync.row(record) for record in records)
            yield msgspec.msgpack.encode(rows)
            rows.clear()
        if rows:
            yield msgspec.msgpack.encode(rows)

    async def create(self, caller: Caller, wanted: GenerateKey) -> tuple[str, KeyRecord]:
        """A new key and its record. Raises `ApiError`."""
        now = self.now_us()
        raw = wanted.key or new_key()
        record = KeyRecord(
            id=f"key_{secrets.token_hex(12)}",
            digest=self._digest_of_new(raw),
            display=display(raw),
            trace_id=caller.request_id,
            created_us=now,
            created_by=caller.key_id,
            updated_us=now,
            updated_by=caller.key_id,
            **columns_of(wanted, self._routes, now),
        )
        async with self._sync.change() as change:
            await keys.insert(change.queries, record)
            await self._audit(change, caller, "key.create", record, {"settings": audited(record)})
            change.put(record)
        return raw, record

    async def update(self, caller: Caller, name: str, changes: KeyChanges) -> KeyRecord:
        """Changes settings. Raises `ApiError`."""
        columns = columns_of(changes, self._routes, self.now_us())
        async with self._sync.change() as change:
            before = await self._living(change.queries, name)
            return await self._replace(change, caller, "key.update", before, columns)

    async def set_blocked(self, caller: Caller, name: str, *, blocked: bool) -> KeyRecord:
        """Blocks or unblocks; a blocked key is refused from the moment this returns. Raises `ApiError`."""
        async with self._sync.change() as change:
            before = await self._living(change.queries, name)
            return await self._replace(
                change, caller, "key.block" if blocked else "key.unblock", before, {"blocked": blocked}
            )

    async def rotate(
        self, caller: Caller, name: str, new: str | None, changes: KeyChanges
    ) -> tuple[str, KeyRecord]:
        """Gives the key a new secret; the old one stops at once. Id, settings and spend stay. Raises
        `ApiError`.
        """
        now = self.now_us()
        raw = new or new_key()
        columns = columns_of(changes, self._routes, now)
        columns |= {"digest": self._digest_of_new(raw), "display": display(raw), "rotated_us": now}
        async with self._sync.change() as change:
            before = await self._living(change.queries, name)
            columns["rotations"] = before.rotations + 1
            after = await self._replace(change, caller, "key.regenerate", before, columns)
            if after.digest != before.digest:
                change.drop([before])
        return raw, after

    async def aws_pair(self, caller: Caller, name: str) -> tuple[KeyRecord, str, str]:
        """The key's AWS access key pair: record, access key id, secret. Raises `ApiError`."""
        async with self._sync.change() as change:
            record = await self._living(change.queries, name)
            await self._audit(change, caller, "key.aws_pair", record, {})
        return record, *self._digests.aws_pair(record.digest)

    async def delete(self, caller: Caller, names: Sequence[str], aliases: Sequence[str]) -> list[KeyRecord]:
        """Archives all of these keys, or none when one is not found. Raises `ApiError`."""
        now = self.now_us()
        async with self._sync.change() as change:
            found = [await self._living(change.queries, name, "keys") for name in names]
            found += [
                _present(await keys.by_alias(change.queries, alias), "key_aliases") for alias in aliases
            ]
            unique = list({record.id: record for record in found}.values())
            for record in unique:
                archived = self._stamped(record, caller, {"deleted_us": now, "deleted_by": caller.key_id})
                await keys.update(change.queries, archived)
                await self._audit(change, caller, "key.delete", record, {})
            change.drop(unique)
        return unique

    def _digest_of_new(self, raw: str) -> str:
        digest = self._digests.of_key(raw)
        if digest == self._master:
            raise bad_request("this key exists already", param="key", code="key_exists")
        return digest.hex()

    async def _living(self, queries: Queries, name: str, param: str = "key") -> KeyRecord:
        return _present(await keys.by_digest(queries, *self._digests.candidates(name)), param)

    async def _replace(
        self, change: Change, caller: Caller, action: str, before: KeyRecord, columns: dict[str, Any]
    ) -> KeyRecord:
        after = self._stamped(before, caller, columns)
        await keys.update(change.queries, after)
        await self._audit(change, caller, action, after, {"changed": difference(before, after)})
        change.put(after)
        return after

    def _stamped(self, record: KeyRecord, caller: Caller, columns: dict[str, Any]) -> KeyRecord:
        stamp = {"updated_us": self.now_us(), "updated_by": caller.key_id, "trace_id": caller.request_id}
        return msgspec.structs.replace(record, **stamp, **columns)

    async def _audit(
        self, change: Change, caller: Caller, action: str, record: KeyRecord, detail: dict[str, Any]
    ) -> None:
        event = audit.AuditEvent(
            org_id=record.org_id,
            trace_id=caller.request_id,
            at_us=self.now_us(),
            actor=caller.key_id,
            actor_ip=caller.client_ip,
            action=action,
            object_type="key",
            object_id=record.id,
            detail={"key_name": record.display, **detail},
        )
        await audit.append(change.queries, event)


def _present(record: KeyRecord | None, param: str) -> KeyRecord:
    if record is None or record.deleted_us is not None:
        raise key_not_found(param)
    return record


def key_not_found(param: str = "key") -> ApiError:
    """The same answer for a key that does not exist, one that was deleted, and one the caller may not see."""
    return not_found("no such key", param=param, code="key_not_found")
