"""Virtual keys in the database. A deleted key stays as an archive row: `deleted_us` is set, its digest and
alias are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ailink.store.database import Queries, Row, Value

K = TypeVar("K", bound="KeyAccess")
State = Literal["active", "blocked", "expired", "deleted"]
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
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    rpm_limit: int | None = None
    max_parallel: int | None = None


class KeyRecord(KeyAccess, frozen=True, kw_only=True):
    """A whole row. Times are µs since 1970."""

    trace_id: str | None = None
    display: str
    user_id: str | None = None
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

    state: State | None = None
    user_id: str | None = None
    digest: str | None = None
    alias: str | None = None
    alias_contains: str | None = None
    now_us: int = 0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    limit: int
    offset: int = 0
    sort_by: SortBy = "created_at"
    descending: bool = True


COLUMNS = KeyRecord.__struct_fields__
ACCESS_COLUMNS = KeyAccess.__struct_fields__
JSON_COLUMNS = frozenset({"models", "routes", "allowed_ips", "metadata"})

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
    return None if row is None else _record(row)


async def by_alias(queries: Queries, alias: str) -> KeyRecord | None:
    """The living key of this alias."""
    row = await queries.fetchrow(f"{_SELECT} WHERE alias = ? AND deleted_us IS NULL", (alias,))
    return None if row is None else _record(row)


async def by_ids(queries: Queries, key_ids: Sequence[str]) -> list[KeyRecord]:
    """Those of these keys that exist, in no order."""
    marks = ", ".join("?" for _ in key_ids)
    return (
        [_record(row) for row in await queries.fetch(f"{_SELECT} WHERE id IN ({marks})", key_ids)]
        if key_ids
        else []
    )


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
    parts = ["deleted_us IS NOT NULL" if wanted.state == "deleted" else "deleted_us IS NULL"]
    params: list[Value] = []
    if wanted.state == "blocked":
        parts.append("blocked = 1")
    elif wanted.state == "expired":
        parts.append("blocked = 0 AND expires_us <= ?")
        params.append(wanted.now_us)
    elif wanted.state == "active":
        parts.append("blocked = 0 AND (expires_us IS NULL OR expires_us > ?)")
        params.append(wanted.now_us)
    for column, value in (("user_id", wanted.user_id), ("digest", wanted.digest), ("alias", wanted.alias)):
        if value is not None:
            parts.append(f"{column} = ?")
            params.append(value)
    if wanted.alias_contains is not None:
        parts.append("lower(alias) LIKE ? ESCAPE '\\'")
        params.append(f"%{_like_literal(wanted.alias_contains.lower())}%")
    return " AND ".join(parts), params


def _like_literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _values(record: KeyRecord) -> Sequence[Value]:
    values: list[Value] = []
    for column in COLUMNS:
        value = getattr(record, column)
        if column in JSON_COLUMNS:
            value = msgspec.json.encode(value).decode()
        elif column == "blocked":
            value = int(value)
        values.append(value)
    return values


def _record(row: Row) -> KeyRecord:
    values = dict(row)
    values["metadata"] = msgspec.json.decode(values["metadata"])
    return _decoded(values, KeyRecord)


def _decoded(values: dict[str, Any], kind: type[K]) -> K:
    for column in ("models", "routes", "allowed_ips"):
        text = values[column]
        # Most keys are not limited, and a hundred thousand of them are read at a start.
        values[column] = () if text == "[]" else msgspec.json.decode(text)
    values["blocked"] = bool(values["blocked"])
    return msgspec.convert(values, kind)
