"""Virtual keys: found, made, changed, blocked, rotated, deleted."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec

from ailink.admin.call import MASTER_ID, Caller
from ailink.admin.changes import Change, Changes, difference
from ailink.admin.errors import bad_request, conflict, not_found
from ailink.admin.key_access import RouteTable
from ailink.admin.key_columns import audited, columns_of, ends
from ailink.admin.key_digests import KeyDigests, display, new_key
from ailink.admin.key_fields import GenerateKey, KeyChanges
from ailink.admin.key_owner import key_not_found, owner_of, require_change, visible
from ailink.admin.key_uses import last_uses
from ailink.admin.plane import KeyRow, Plane
from ailink.admin.returns import key_returns
from ailink.admin.setting_fields import given
from ailink.secrets.envelope import Place
from ailink.secrets.keyring import Keyring
from ailink.store import keys
from ailink.store.database import Queries
from ailink.store.key_uses import KeyUse
from ailink.store.keys import KeyFilter, KeyRecord, Page
from ailink.store.tenancy import budgets

# How long the former secret of a scheduled rotation goes on.
OVERLAP = "1d"
ROTATED_AT_ONCE = 100
OWNERS = frozenset({"team_id", "project_id", "organization_id", "user_id"})


class KeyService:
    """All that happens to virtual keys. `master` is the digest of the master key."""

    def __init__(
        self,
        changes: Changes,
        plane: Plane,
        routes: RouteTable,
        digests: KeyDigests,
        master: bytes | None,
        keyring: Keyring,
    ) -> None:
        self._changes = changes
        self._database = changes.database
        self._plane = plane
        self._routes = routes
        self._digests = digests
        self._master = master
        self._keyring = keyring
        self.now_us = changes.now_us

    async def find(self, name: str) -> KeyRecord | None:
        """The key that `name` stands for, archived ones included; for the gateway itself."""
        return await keys.by_digest(self._database, *self._digests.candidates(name))

    async def get(self, caller: Caller, name: str, param: str = "key") -> KeyRecord:
        """The key that `name` stands for, archived ones included. Raises `ApiError` (404)."""
        record = await self.find(name)
        if record is None or not visible(caller.acting, record):
            raise key_not_found(param)
        return record

    async def get_by_id(self, caller: Caller, key_id: str) -> KeyRecord:
        """Raises `ApiError` (404)."""
        record = await self.by_id(key_id)
        if record is None or not visible(caller.acting, record):
            raise key_not_found()
        return record

    def is_master(self, name: str) -> bool:
        """Whether `name` is the master key; it has no record."""
        return name == MASTER_ID or (
            self._master is not None and self._master.hex() in self._digests.candidates(name)
        )

    def names_in_reports(self, name: str) -> frozenset[str]:
        """What spend may be told under of a key that is named so: by itself, its token or its SHA-256."""
        return frozenset({MASTER_ID} if self.is_master(name) else {name, *self._digests.candidates(name)})

    def digest_of(self, raw: str) -> bytes:
        """What the data plane knows a key by."""
        return self._digests.of_key(raw)

    async def by_id(self, key_id: str) -> KeyRecord | None:
        return await keys.by_id(self._database, key_id)

    async def records(self, key_ids: Iterable[str]) -> dict[str, KeyRecord]:
        """Key id → key, for those keys that exist."""
        return {record.id: record for record in await keys.by_ids(self._database, sorted(set(key_ids)))}

    async def tokens(self, key_ids: Iterable[str]) -> dict[str, str]:
        """Key id → token, for those keys that exist."""
        return {key_id: record.digest for key_id, record in (await self.records(key_ids)).items()}

    async def page(self, wanted: KeyFilter, page: Page) -> tuple[list[KeyRecord], int]:
        """One page, and how many keys there are in all."""
        return await keys.find(self._database, wanted, page), await keys.count(self._database, wanted)

    async def routes_of(self, key_id: str) -> Sequence[str]:
        """The key's `allowed_routes`; empty when it is not limited to some."""
        record = await self.by_id(key_id)
        return () if record is None else record.routes

    def spend(self, records: Iterable[KeyRecord]) -> list[int]:
        """Pico-USD of each key, since it was made."""
        return self._plane.spend([record.id for record in records])

    async def last_uses(self, records: Iterable[KeyRecord]) -> dict[str, KeyUse]:
        """Key id → last use on any node, for those keys that were used."""
        return await last_uses(self._database, self._plane, [record.id for record in records])

    def load(self) -> AsyncIterator[bytes]:
        """Every living key as MessagePack lists of `KeyRow`, in batches; the master key is in the first."""
        first = [] if self._master is None else [KeyRow(digest=self._master, id=MASTER_ID, role="admin")]
        return self._changes.sync.load(self._database, first)

    async def create(
        self, caller: Caller, wanted: GenerateKey, *, service_account: str | None = None
    ) -> tuple[str, KeyRecord]:
        """A new key and its record; `service_account`: the key belongs to nobody. Raises `ApiError`."""
        async with self._changes.make(caller) as change:
            return await self.create_in(change, wanted, service_account)

    async def create_in(
        self, change: Change, wanted: GenerateKey, service_account: str | None = None
    ) -> tuple[str, KeyRecord]:
        """`create` as a part of a larger change."""
        columns = columns_of(wanted, self._routes, change.now_us)
        raw = wanted.key or new_key()
        owner = await owner_of(
            change.queries, change.caller.acting, given(wanted), service=service_account is not None
        )
        await self._check_budget(change, columns)
        record = KeyRecord(
            id=f"key_{secrets.token_hex(12)}",
            digest=self._digest_of_new(raw),
            display=display(raw),
            service_account=service_account,
            **(change.stamps() | columns | msgspec.structs.asdict(owner)),
        )
        await keys.insert(change.queries, record)
        await self._audit(change, "key.create", record, {"settings": audited(record)})
        change.touch([record.id])
        return raw, record

    async def update(self, caller: Caller, name: str, wanted: KeyChanges) -> KeyRecord:
        """Changes settings. Raises `ApiError`."""
        async with self._changes.make(caller) as change:
            before = await self._changeable(change, name, "/key/update")
            columns = await self._changed_columns(change, before, wanted)
            return await self._replace(change, "key.update", before, columns)

    async def set_blocked(self, caller: Caller, name: str, *, blocked: bool) -> KeyRecord:
        """Blocks or unblocks; a blocked key is refused from the moment this returns. Raises `ApiError`."""
        verb = "block" if blocked else "unblock"
        async with self._changes.make(caller) as change:
            before = await self._changeable(change, name, f"/key/{verb}")
            return await self._replace(change, f"key.{verb}", before, {"blocked": blocked})

    async def rotate(
        self, caller: Caller, name: str, new: str | None, wanted: KeyChanges, grace: str | None = None
    ) -> tuple[str, KeyRecord]:
        """Gives the key a new secret; the old one stops at once, or after `grace`. Id, settings and spend
        stay. Raises `ApiError`.
        """
        raw = new or new_key()
        async with self._changes.make(caller) as change:
            before = await self._changeable(change, name, "/key/regenerate")
            columns = await self._changed_columns(change, before, wanted)
            columns |= self.rotated(before, raw, change.now_us, grace)
            after = await self._replace(change, "key.regenerate", before, columns)
            if after.digest != before.digest:
                change.forget({before.digest, before.old_digest} - {after.old_digest})
        return raw, after

    async def aws_pair(self, caller: Caller, record: KeyRecord) -> tuple[str, str]:
        """The key's AWS access key pair: access key id and secret."""
        async with self._changes.make(caller) as change:
            await self._audit(change, "key.aws_pair", record, {})
        return self._digests.aws_pair(record.digest)

    def rotated(self, before: KeyRecord, raw: str, now_us: int, grace: str | None) -> dict[str, Any]:
        """The columns of a key that has a new secret."""
        columns: dict[str, Any] = {
            "digest": self._digest_of_new(raw),
            "display": display(raw),
            "rotated_us": now_us,
            "rotations": before.rotations + 1,
            "old_digest": None,
            "old_until_us": None,
            "pending": None,
        }
        if grace is not None and columns["digest"] != before.digest:
            columns |= {"old_digest": before.digest, "old_until_us": ends(grace, now_us, "grace_period")}
        if before.rotate_at_us is not None and before.rotation_interval is not None:
            columns["rotate_at_us"] = ends(before.rotation_interval, now_us, "rotation_interval")
        return columns

    async def rotate_due(self, caller: Caller) -> int:
        """Does the scheduled rotations whose time has come; how many. The former secrets go on for a day, and
        whoever calls with one of them can fetch the new one.
        """
        done = 0
        for due in await keys.due(self._database, self.now_us(), ROTATED_AT_ONCE):
            raw = new_key()
            async with self._changes.make(caller) as change:
                before = await keys.by_id(change.queries, due.id)
                if before is None or before.deleted_us is not None or before.rotate_at_us != due.rotate_at_us:
                    continue
                columns = self.rotated(before, raw, change.now_us, OVERLAP)
                columns["pending"] = self._keyring.seal(raw.encode(), _pending(before.id))
                await self._replace(change, "key.rotate", before, columns)
                change.forget([before.old_digest])
            done += 1
        return done

    async def forget_old_secrets(self, caller: Caller) -> int:
        """Takes former secrets whose time is over from the plane; how many."""
        found = await keys.outlived(self._database, self.now_us(), ROTATED_AT_ONCE)
        for old in found:
            async with self._changes.make(caller) as change:
                before = await keys.by_id(change.queries, old.id)
                if before is None or before.old_digest != old.old_digest:
                    continue
                # An end of what was announced, and no change of a setting: no new version, no audit row.
                left = msgspec.structs.replace(before, old_digest=None, old_until_us=None)
                await keys.update(change.queries, left)
                change.touch([left.id])
                change.forget([old.old_digest])
        return len(found)

    async def fetch_rotated(self, caller: Caller) -> tuple[str, KeyRecord]:
        """The new secret of the calling key, once. Raises `ApiError` (404)."""
        async with self._changes.make(caller) as change:
            before = await keys.by_id(change.queries, caller.key_id)
            if before is None or before.pending is None:
                raise not_found("no new secret waits for this key", code="no_rotation")
            raw = self._keyring.unseal(before.pending, _pending(before.id)).decode()
            after = await self._replace(change, "key.fetch_rotated", before, {"pending": None})
        return raw, after

    async def reset_spend(self, caller: Caller, name: str, spent: int) -> tuple[KeyRecord, int]:
        """Budgets of the key count from now, when `spent` was; also what was spent since the
        last time. Raises `ApiError`.
        """
        async with self._changes.make(caller) as change:
            before = await self._changeable(change, name, "/key/reset_spend")
            settings = msgspec.structs.replace(
                before.settings, spend_base=spent, spend_since_us=change.now_us
            )
            after = await self._replace(change, "key.reset_spend", before, {"settings": settings})
            return after, spent - before.settings.spend_base

    async def delete(self, caller: Caller, names: Sequence[str], aliases: Sequence[str]) -> list[KeyRecord]:
        """Archives all of these keys, or none when one is not found. Raises `ApiError`."""
        async with self._changes.make(caller) as change:
            found = [await self._changeable(change, name, "/key/delete", "keys") for name in names]
            found += [await self._of_alias(change, alias) for alias in aliases]
            unique = list({record.id: record for record in found}.values())
            await self.delete_in(change, unique)
        return unique

    async def delete_in(self, change: Change, records: Iterable[KeyRecord]) -> None:
        """Archives keys as a part of a larger change."""
        for record in records:
            change.match(record.version)
            stamps = change.restamped(record.version)
            archived = msgspec.structs.replace(
                record, **stamps, deleted_us=change.now_us, deleted_by=change.caller.key_id, rotate_at_us=None
            )
            await keys.update(change.queries, archived)
            await self._audit(change, "key.delete", record, {})
            change.touch([record.id])
            change.forget([record.digest, record.old_digest])

    async def restore_in(self, change: Change, key_ids: Iterable[str]) -> list[KeyRecord]:
        """Takes back the delete of keys whose secret and alias are free. Raises `ApiError` (409)."""
        found = []
        for record in await keys.by_ids(change.queries, sorted(key_ids)):
            if record.deleted_us is None:
                continue
            columns = change.restamped(record.version) | await key_returns(change.queries, record)
            living = msgspec.structs.replace(record, **columns, deleted_us=None, deleted_by=None)
            await keys.update(change.queries, living)
            await self._audit(change, "key.restore", living, {})
            change.touch([living.id])
            found.append(living)
        return found

    async def _changed_columns(self, change: Change, before: KeyRecord, wanted: KeyChanges) -> dict[str, Any]:
        columns = columns_of(wanted, self._routes, change.now_us, before)
        await self._check_budget(change, columns)
        fields = given(wanted)
        if OWNERS & fields.keys():
            if "team_id" in fields and "project_id" not in fields:
                fields["project_id"] = None
            if "team_id" in fields and "organization_id" not in fields:
                fields["organization_id"] = None
            owner = await owner_of(change.queries, change.caller.acting, fields, before)
            columns |= msgspec.structs.asdict(owner)
        return columns

    async def _check_budget(self, change: Change, columns: dict[str, Any]) -> None:
        settings = columns.get("settings")
        if settings is not None and settings.budget_id is not None:
            reach = change.caller.acting.reach("budgets.read")
            if await budgets.get(change.queries, reach, settings.budget_id) is None:
                raise bad_request("no such budget", param="budget_id", code="budget_not_found")

    def _digest_of_new(self, raw: str) -> str:
        digest = self._digests.of_key(raw)
        if digest == self._master:
            raise bad_request("this key exists already", param="key", code="key_exists")
        return digest.hex()

    async def living(self, queries: Queries, name: str, param: str = "key") -> KeyRecord:
        """Raises `ApiError` (404)."""
        record = await keys.by_digest(queries, *self._digests.candidates(name))
        if record is None or record.deleted_us is not None:
            raise key_not_found(param)
        return record

    async def _of_alias(self, change: Change, alias: str) -> KeyRecord:
        """The key of this alias that the caller means to delete: the only one he sees. Raises `ApiError`."""
        actor = change.caller.acting
        seen = [record for record in await keys.of_alias(change.queries, alias) if visible(actor, record)]
        if len(seen) > 1:
            text = f"{len(seen)} organizations have a key {alias!r}: name the key itself in `keys`"
            raise conflict(text, "alias_of_several", "key_aliases")
        if not seen:
            raise key_not_found("key_aliases")
        require_change(actor, seen[0], "/key/delete", "key_aliases")
        return seen[0]

    async def _changeable(self, change: Change, name: str, route: str, param: str = "key") -> KeyRecord:
        record = await self.living(change.queries, name, param)
        require_change(change.caller.acting, record, route, param)
        return record

    async def _replace(
        self, change: Change, action: str, before: KeyRecord, columns: dict[str, Any]
    ) -> KeyRecord:
        change.match(before.version)
        after = msgspec.structs.replace(before, **change.restamped(before.version), **columns)
        await keys.update(change.queries, after)
        await self._audit(change, action, after, {"changed": difference(before, after)})
        change.touch([after.id])
        return after

    async def _audit(self, change: Change, action: str, record: KeyRecord, detail: dict[str, Any]) -> None:
        await change.audit(action, "key", record, {"key_name": record.display, **detail})


def _pending(key_id: str) -> Place:
    return Place("", "virtual_key", key_id, "pending")
