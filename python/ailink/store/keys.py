"""Virtual keys in the database. A deleted key stays as an archive row: `deleted_us` is set, its digest and
alias are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ailink.store.database import Queries, Row, Value
from ailink.store.reach import EVERYWHERE, Reach, condition
from ailink.store.rows import literal
from ailink.store.settings import Settings

K = TypeVar("K", bound="KeyAccess")
State = Literal["active", "blocked", "expired", "deleted"]
Holder = Literal["org_id", "team_id", "project_id", "user_id", "id"]
SortBy = Literal["created_at", "updated_at", "key_alias", "key_name", "expires"]

# Whatever the caller may sort by; also the guard that keeps column names out of the caller's hands.
SORT_COLUMNS: dict[SortBy, str] = {
    "created_at": "created_us",
    "updated_at": "updated_us",
    "key_alias": "alias",
    "key_name": "display",
    "expires": "expires_us",
}


class KeyAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What admission needs to know of a key: the part of a row that is loaded for every key at the start.

    `digest` is hexadecimal, `expires_us` µs since 1970; empty `models`, `routes`, `allowed_ips` mean all.
    """

    id: str
    org_id: str | None = None
    digest: str
    alias: str | None = None
    blocked: bool = False
    expires_us: int | None = None
    user_id: str | None = None
    team_id: str | None = None
    project_id: str | None = None
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    rpm_limit: int | None = None
    max_parallel: int | None = None
    # Whatever else is set; `models`, `rpm_limit` and `max_parallel` stand in columns of their own.
    settings: Settings = Settings()
    # The secret before the last rotation, while both work.
    old_digest: str | None = None
    old_until_us: int | None = None

    def all_settings(self) -> Settings:
        """The settings in the shape that all holders share."""
        return msgspec.structs.replace(
            self.settings, models=self.models, rpm_limit=self.rpm_limit, max_parallel=self.max_parallel
        )


class KeyRecord(KeyAccess, frozen=True, kw_only=True):
    """A whole row. Times are µs since 1970."""

    trace_id: str | None = None
    version: int = 1
    display: str
    # default, llm_api, management or read_only; what a key may call beyond its role.
    kind: str = "default"
    service_account: str | None = None
    # On management routes the key is its user. Set only when its creator could have lent him that.
    acts_as_user: bool = False
    rotation_interval: str | None = None
    rotate_at_us: int | None = None
    # The new secret of a scheduled rotation, sealed, until it was fetched.
    pending: str | None = None
    duration: str | None = None
    metadata: dict[str, Any] = {}
    rotations: int = 0
    rotated_us: int | None = None
    created_us: int
    created_by: str
    updated_us: int
    updated_by: str
    deleted_us: int | None = None
    deleted_by: str | None = None

    def state(self, now_us: int) -> State:
        """What the key is at `now_us`; the first of deleted, blocked, expired, active that holds."""
        if self.deleted_us is not None:
            return "deleted"
        if self.blocked:
            return "blocked"
        if self.expires_us is not None and self.expires_us <= now_us:
            return "expired"
        return "active"


class KeyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which keys to list; None means any. Without a `state` the list holds all keys that are not deleted."""

    reach: Reach = EVERYWHERE
    state: State | None = None
    org_id: str | None = None
    team_id: str | None = None
    project_id: str | None = None
    created_by: str | None = None
    user_id: str | None = None
    digest: str | None = None
    alias: str | None = None
    alias_contains: str | None = None
    after: tuple[int, str] | None = None
    """When the last key of the page before was made, and its id."""
    now_us: int = 0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    limit: int
    offset: int = 0
    sort_by: SortBy = "created_at"
    descending: bool = True


COLUMNS = KeyRecord.__struct_fields__
ACCESS_COLUMNS = KeyAccess.__struct_fields__
JSON_COLUMNS = frozenset({"models", "routes", "allowed_ips", "metadata", "settings"})
BOOLEANS = frozenset({"blocked", "acts_as_user"})

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM virtual_key"
_SELECT_ACCESS = f"SELECT {', '.join(ACCESS_COLUMNS)} FROM virtual_key"
_INSERT = f"INSERT INTO virtual_key ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"
_UPDATE = f"UPDATE virtual_key SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE id = ?"
# A raw key that was deleted and later given again names the living row.
_NEWEST_FIRST = "ORDER BY deleted_us IS NOT NULL, deleted_us DESC LIMIT 1"


async def insert(queries: Queries, record: KeyRecord) -> None:
    """Raises `ConflictError` when a living key has the same digest or alias."""
    await queries.execute(_INSERT, _values(record))


async def update(queries: Queries, record: KeyRecord) -> None:
    """Writes the whole row of `record.id`. Raises `ConflictError` as `insert` does."""
    await queries.execute(_UPDATE, (*_values(record), record.id))


async def by_id(queries: Queries, key_id: str) -> KeyRecord | None:
    row = await queries.fetchrow(f"{_SELECT} WHERE id = ?", (key_id,))
    return None if row is None else _record(row)


async def by_digest(queries: Queries, *digests: str) -> KeyRecord | None:
    """The key with one of these digests, living before archived, the archived newest first."""
    marks = ", ".join("?" for _ in digests)
    row = await queries.fetchrow(f"{_SELECT} WHERE digest IN ({marks}) {_NEWEST_FIRST}", digests)
    if row is None:
        # The secret before the last rotation names the key too, as long as it works.
        row = await queries.fetchrow(f"{_SELECT} WHERE old_digest IN ({marks}) {_NEWEST_FIRST}", digests)
    return None if row is None else _record(row)


async def of_alias(queries: Queries, alias: str) -> list[KeyRecord]:
    """The living keys of this alias: one in each organization at most."""
    sql = f"{_SELECT} WHERE alias = ? AND deleted_us IS NULL ORDER BY id"
    return [_record(row) for row in await queries.fetch(sql, (alias,))]


async def by_ids(queries: Queries, key_ids: Sequence[str]) -> list[KeyRecord]:
    """Those of these keys that exist, in no order."""
    marks = ", ".join("?" for _ in key_ids)
    return (
        [_record(row) for row in await queries.fetch(f"{_SELECT} WHERE id IN ({marks})", key_ids)]
        if key_ids
        else []
    )


async def of(queries: Queries, column: Holder, holders: Sequence[str]) -> list[KeyRecord]:
    """All living keys of these holders."""
    marks = ", ".join("?" for _ in holders)
    sql = f"{_SELECT} WHERE {column} IN ({marks}) AND deleted_us IS NULL ORDER BY id"
    return [_record(row) for row in await queries.fetch(sql, holders)] if holders else []


async def naming_budget(queries: Queries, budget_id: str) -> list[KeyRecord]:
    """Living keys that were given this budget."""
    part = f'%"budget_id":{literal(msgspec.json.encode(budget_id).decode())}%'
    sql = f"{_SELECT} WHERE settings LIKE ? ESCAPE '\\' AND deleted_us IS NULL ORDER BY id"
    found = [_record(row) for row in await queries.fetch(sql, (part,))]
    return [record for record in found if record.settings.budget_id == budget_id]


async def naming_group(queries: Queries, group_id: str, name: str) -> list[KeyRecord]:
    """Living keys whose settings hold these names; the caller looks where."""
    parts = [f"%{literal(msgspec.json.encode(text).decode())}%" for text in (group_id, name)]
    clause = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in ("settings", "models") for _ in parts)
    sql = f"{_SELECT} WHERE ({clause}) AND deleted_us IS NULL ORDER BY id"
    return [_record(row) for row in await queries.fetch(sql, (*parts, *parts))]


async def due(queries: Queries, now_us: int, limit: int) -> list[KeyRecord]:
    """Keys whose scheduled rotation has come."""
    sql = f"{_SELECT} WHERE rotate_at_us <= ? AND deleted_us IS NULL ORDER BY rotate_at_us LIMIT ?"
    return [_record(row) for row in await queries.fetch(sql, (now_us, limit))]


async def with_temporary_budget(queries: Queries) -> list[KeyRecord]:
    """Living keys whose budget was increased for a time."""
    sql = f"{_SELECT} WHERE settings LIKE '%temp_budget_expiry_us%' AND deleted_us IS NULL"
    return [_record(row) for row in await queries.fetch(sql)]


async def outlived(queries: Queries, now_us: int, limit: int) -> list[KeyRecord]:
    """Keys whose former secret has ended."""
    sql = f"{_SELECT} WHERE old_until_us <= ? AND old_digest IS NOT NULL ORDER BY id LIMIT ?"
    return [_record(row) for row in await queries.fetch(sql, (now_us, limit))]


async def find(queries: Queries, wanted: KeyFilter, page: Page) -> list[KeyRecord]:
    """One page. Equal sort values are ordered by id, so that pages neither repeat nor skip a key."""
    condition, params = _condition(wanted)
    direction = "DESC" if page.descending else "ASC"
    column = SORT_COLUMNS[page.sort_by]
    # NULLs last in both directions and both databases.
    order = f"ORDER BY {column} IS NULL, {column} {direction}, id {direction}"
    rows = await queries.fetch(
        f"{_SELECT} WHERE {condition} {order} LIMIT ? OFFSET ?", (*params, page.limit, page.offset)
    )
    return [_record(row) for row in rows]


async def count(queries: Queries, wanted: KeyFilter) -> int:
    condition, params = _condition(wanted)
    row = await queries.fetchrow(f"SELECT COUNT(*) AS keys FROM virtual_key WHERE {condition}", params)
    return 0 if row is None else int(row["keys"])


async def living(queries: Queries, after_id: str, limit: int) -> list[KeyAccess]:
    """Keys that are not deleted, in the order of their ids, from the one after `after_id`: batch by batch,
    all.
    """
    sql = f"{_SELECT_ACCESS} WHERE id > ? AND deleted_us IS NULL ORDER BY id LIMIT ?"
    return [_decoded(dict(row), KeyAccess) for row in await queries.fetch(sql, (after_id, limit))]


def _condition(wanted: KeyFilter) -> tuple[str, list[Value]]:
    within, params = condition(wanted.reach, team="team_id", user="user_id")
    parts = [within, "deleted_us IS NOT NULL" if wanted.state == "deleted" else "deleted_us IS NULL"]
    if wanted.state == "blocked":
        parts.append("blocked = 1")
    elif wanted.state == "expired":
        parts.append("blocked = 0 AND expires_us <= ?")
        params.append(wanted.now_us)
    elif wanted.state == "active":
        parts.append("blocked = 0 AND (expires_us IS NULL OR expires_us > ?)")
        params.append(wanted.now_us)
    equal = ("user_id", "team_id", "project_id", "org_id", "digest", "alias", "created_by")
    for column in equal:
        value = getattr(wanted, column)
        if value is not None:
            parts.append(f"{column} = ?")
            params.append(value)
    if wanted.after is not None:
        parts.append("(created_us > ? OR (created_us = ? AND id > ?))")
        params += [wanted.after[0], *wanted.after]
    if wanted.alias_contains is not None:
        parts.append("alias IS NOT NULL AND lower(alias) LIKE ? ESCAPE '\\'")
        params.append(f"%{literal(wanted.alias_contains.lower())}%")
    return " AND ".join(parts), params


def _values(record: KeyRecord) -> Sequence[Value]:
    values: list[Value] = []
    for column in COLUMNS:
        value = getattr(record, column)
        if column in JSON_COLUMNS:
            value = msgspec.json.encode(value).decode()
        elif column in BOOLEANS:
            value = int(value)
        values.append(value)
    return values


def _record(row: Row) -> KeyRecord:
    values = dict(row)
    values["metadata"] = msgspec.json.decode(values["metadata"])
    values["acts_as_user"] = bool(values["acts_as_user"])
    return _decoded(values, KeyRecord)


def _decoded(values: dict[str, Any], kind: type[K]) -> K:
    for column in ("models", "routes", "allowed_ips"):
        text = values[column]
        # Most keys are not limited, and a hundred thousand of them are read at a start.
        values[column] = () if text == "[]" else msgspec.json.decode(text)
    text = values["settings"]
    values["settings"] = Settings() if text == "{}" else msgspec.json.decode(text)
    values["blocked"] = bool(values["blocked"])
    return msgspec.convert(values, kind)
