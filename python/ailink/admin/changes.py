"""One change of the tenants' rows: written with its audit events, made effective in the data plane,
committed; all or nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from ailink.admin.call import Caller
from ailink.admin.errors import ApiError, bad_request, conflict
from ailink.admin.plane_sync import PlaneSync
from ailink.admin.subjects import KINDS, Subject
from ailink.snapshot.model import SubjectKind
from ailink.store import archive, audit, change_log, keys
from ailink.store.database import ConflictError, Database, DatabaseError, Queries
from ailink.store.keys import Holder, KeyRecord
from ailink.store.rows import Record, Rows

R = TypeVar("R", bound=Record)
# Left out of the audit log: the caller's own and maybe secret, or of no interest.
UNAUDITED = frozenset(
    {"trace_id", "version", "updated_us", "updated_by", "digest", "old_digest", "pending"}
) | {"sealed"}
INSERT_REPEAT = """
    INSERT INTO idempotency (id, org_id, trace_id, request, status, answer, created_us)
    VALUES (?, ?, ?, ?, 0, '', ?)
"""


class Change:
    """One change in progress: its transaction, and what the plane has to be told at its end."""

    def __init__(self, queries: Queries, caller: Caller, now_us: int) -> None:
        self.queries = queries
        self.caller = caller
        self.now_us = now_us
        self.keys: set[str] = set()
        self.digests: set[str] = set()
        # What the plane was told of them.
        self.told: set[str] = set()
        self.subjects: set[Subject] = set()
        # Whether other nodes have to read policies, models and providers anew.
        self.config = False
        self._matched = caller.if_match is None

    def stamps(self) -> dict[str, Any]:
        """What a new row says of its making."""
        by = self.caller.key_id
        return {
            "trace_id": self.caller.request_id,
            "created_us": self.now_us,
            "created_by": by,
            "updated_us": self.now_us,
            "updated_by": by,
        }

    async def insert(self, rows: Rows[R], record: R, action: str = "create") -> R:
        await rows.insert(self.queries, record)
        self._touched(rows, record)
        await self.audit(f"{rows.table}.{action}", rows.table, record, {"settings": _told(record)})
        return record

    async def update(self, rows: Rows[R], before: R, action: str = "update", **columns: Any) -> R:
        self.match(before.version)
        after = msgspec.structs.replace(before, **self.restamped(before.version), **columns)
        await rows.update(self.queries, after)
        self._touched(rows, after)
        await self.audit(f"{rows.table}.{action}", rows.table, after, {"changed": difference(before, after)})
        return after

    async def remove(self, rows: Rows[R], record: R, beside: Mapping[str, Any] | None = None) -> None:
        """Moves a row into the archive, with what has to come back with it."""
        self.match(record.version)
        kept = archive.Archived(
            kind=rows.table,
            id=record.id,
            org_id=record.org_id,
            trace_id=self.caller.request_id,
            deleted_us=self.now_us,
            deleted_by=self.caller.key_id,
            record={"row": msgspec.to_builtins(record), **(beside or {})},
        )
        await archive.insert(self.queries, kept)
        await rows.delete(self.queries, record.id)
        self._touched(rows, record)
        await self.audit(f"{rows.table}.delete", rows.table, record, {})

    def _touched(self, rows: Rows[Any], record: Record) -> None:
        kind = KINDS.get(rows.table)
        if kind is not None:
            self.touch_subject(kind, record.id)

    def restamped(self, version: int) -> dict[str, Any]:
        """What a changed row says of its change."""
        return {
            "trace_id": self.caller.request_id,
            "updated_us": self.now_us,
            "updated_by": self.caller.key_id,
            "version": version + 1,
        }

    def match(self, version: int) -> None:
        """Compares If-Match with the first row that is changed. Raises `ApiError` (412)."""
        if not self._matched:
            self._matched = True
            if self.caller.if_match not in ("*", etag(version)):
                raise ApiError(
                    412,
                    "The object was changed since you read it: read it again.",
                    type="invalid_request_error",
                    code="precondition_failed",
                    param="If-Match",
                )

    async def audit(self, action: str, kind: str, record: Record | KeyRecord, detail: dict[str, Any]) -> None:
        event = audit.AuditEvent(
            org_id=record.org_id,
            trace_id=self.caller.request_id,
            at_us=self.now_us,
            actor=self.caller.key_id,
            actor_ip=self.caller.client_ip,
            action=action,
            object_type=kind,
            object_id=record.id,
            detail=detail,
        )
        await audit.append(self.queries, event)

    def touch_subject(self, kind: SubjectKind, row_id: str) -> None:
        """A holder of limits that the plane has to be told anew."""
        self.subjects.add((kind, row_id))

    def touch(self, key_ids: Iterable[str]) -> None:
        """Keys that the plane has to be told anew."""
        self.keys.update(key_ids)

    async def touch_keys_of(self, column: Holder, holders: Sequence[str]) -> list[KeyRecord]:
        """All keys of these holders; returns them."""
        found = await keys.of(self.queries, column, holders)
        self.touch(record.id for record in found)
        return found

    def forget(self, digests: Iterable[str | None]) -> None:
        """Digests that no key has any more."""
        self.digests.update(digest for digest in digests if digest is not None)


class Changes:
    """Where changes are made. `now_us` is the clock, µs since 1970."""

    def __init__(self, database: Database, sync: PlaneSync, now_us: Callable[[], int]) -> None:
        self.database = database
        self.sync = sync
        self.now_us = now_us
        # Undone in the plane as soon as the database can be read again.
        self._unsettled: list[Change] = []

    @asynccontextmanager
    async def make(self, caller: Caller) -> AsyncIterator[Change]:
        """A change, all or nothing, in the database and in the plane. Raises `ApiError` for what is taken."""
        change = None
        pushed = False
        try:
            async with self.database.transaction() as queries:
                change = Change(queries, caller, self.now_us())
                await _remember(queries, caller, change.now_us)
                yield change
                pushed = True
                # Holders before the keys that draw on them.
                await self.sync.push_subjects(queries, change.subjects)
                await self.sync.push(queries, change.keys, change.digests, change.told)
                what = change_log.What(
                    keys=tuple(sorted(change.keys)),
                    digests=tuple(sorted(change.digests)),
                    subjects=tuple(sorted(change.subjects)),
                    config=change.config,
                )
                await change_log.append(self.database, queries, what, caller.request_id, change.now_us)
        except BaseException as error:
            if change is not None and pushed:
                self._unsettled.append(change)
                with contextlib.suppress(DatabaseError):
                    await self.settle()
            if isinstance(error, ConflictError):
                raise taken(error) from error
            raise

    async def settle(self) -> None:
        """Sets the plane back to what the database says wherever a change did not come to its end. Raises
        `DatabaseError`: later, then.
        """
        while self._unsettled:
            await self._restore(self._unsettled[0])
            self._unsettled.pop(0)

    async def _restore(self, change: Change) -> None:
        # Read under the write lock: a later change may not be overtaken by this older truth.
        async with self.database.transaction() as queries:
            records = await keys.by_ids(queries, sorted(change.keys))
            digests = change.digests | change.told | {record.digest for record in records}
            await self.sync.push_subjects(queries, change.subjects)
            await self.sync.push(queries, change.keys, digests, set())


async def _remember(queries: Queries, caller: Caller, now_us: int) -> None:
    """In the transaction of the effect: a repeat never takes effect twice, even when the answer was lost."""
    if caller.repeat is not None:
        actor = caller.acting
        values = (caller.repeat.id, actor.org_id, caller.request_id, caller.repeat.request, now_us)
        try:
            await queries.execute(INSERT_REPEAT, values)
        except ConflictError as error:
            raise conflict(
                "a request with this Idempotency-Key was done already", "idempotency_conflict"
            ) from error


def etag(version: int) -> str:
    return f'"{version}"'


def difference(before: msgspec.Struct, after: msgspec.Struct) -> dict[str, list[Any]]:
    """Column → value before and after, for the audit log; metadata only as changed or not."""
    changed: dict[str, list[Any]] = {}
    for column in before.__struct_fields__:
        old, new = getattr(before, column), getattr(after, column)
        if old == new or column in UNAUDITED:
            continue
        if column == "metadata":
            changed[column] = ["…", "…"]
        elif isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
            changed |= {f"{column}.{name}": pair for name, pair in difference(old, new).items()}
        else:
            changed[column] = [msgspec.to_builtins(old), msgspec.to_builtins(new)]
    return changed


def _told(record: msgspec.Struct) -> dict[str, Any]:
    """The settings of a new row that are not empty."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    if isinstance(settings := plain.get("settings"), dict):
        plain["settings"] = {name: value for name, value in settings.items() if name != "metadata"}
    hidden = UNAUDITED | {"id", "org_id", "created_us", "created_by", "metadata"}
    return {
        name: value
        for name, value in plain.items()
        if name not in hidden and value not in (None, "", [], {}, False)
    }


def taken(error: ConflictError) -> ApiError:
    """What a broken UNIQUE constraint means to the caller."""
    text = str(error)
    if "alias" in text:
        return bad_request("a key with this alias exists already", param="key_alias", code="key_alias_exists")
    if "virtual_key" in text:
        return bad_request("this key exists already", param="key", code="key_exists")
    table, _, column = text.removeprefix("UNIQUE constraint failed: ").partition(",")[0].partition(".")
    field = {"app_user": "user"}.get(table, table)
    name = f"{field}_{column}" if column == "id" else f"user_{column}" if table == "app_user" else column
    return conflict(
        f"a {field.replace('_', ' ')} with this {column or 'id'} exists already", f"{field}_exists", name
    )
