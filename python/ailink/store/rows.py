"""One table as frozen structs: a column per field, JSON for what is not a scalar, a version per row.

The nouns of tenancy differ in their columns only; what is asked of their tables is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, get_origin

import msgspec

from ailink.store.database import Queries, Row, Value
from ailink.store.reach import EVERYWHERE, Reach, any_of, condition

# SQLite allows 32,766 parameters in one statement, PostgreSQL 65,535; shorter statements are kinder to both.
CHUNK = 1_000


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every row has. Times are µs since 1970; `version` grows with every change."""

    id: str
    org_id: str | None = None
    trace_id: str | None = None
    version: int = 1
    created_us: int
    created_by: str
    updated_us: int
    updated_by: str


R = TypeVar("R", bound=Record)
PLAIN = (str, int, str | None, int | None)


class Sort(msgspec.Struct, frozen=True, kw_only=True):
    """A page: `column` comes from code, never from a caller."""

    limit: int
    offset: int = 0
    column: str = "created_us"
    descending: bool = False
    after: tuple[Value, str] | None = None
    """Value of `column` and id of the last row of the page before."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows: columns equal to values, that contain a text, with one of several values."""

    equal: Mapping[str, Value] = {}
    contains: Mapping[str, str] = {}
    one_of: Mapping[str, Iterable[str]] = {}
    where: str = ""
    params: Sequence[Value] = ()


ALL = Match()


class Rows(Generic[R]):
    """The repository of one noun. `team`, `user`: the columns by which a row belongs to a team, a user."""

    def __init__(
        self,
        table: str,
        record: type[R],
        *,
        team: str | None = None,
        user: str | None = None,
        extra: str = "",
    ) -> None:
        self.table = table
        self.record = record
        self._team = team
        self._user = user
        self._extra = extra
        fields = msgspec.structs.fields(record)
        self._columns = tuple(field.name for field in fields)
        self._booleans = frozenset(field.name for field in fields if field.type is bool)
        self._json = frozenset(
            field.name
            for field in fields
            if field.type is not bool and field.type not in PLAIN and get_origin(field.type) is not Literal
        )
        names = ", ".join(self._columns)
        self._select = f"SELECT {names} FROM {table}"
        self._insert = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' for _ in self._columns)})"
        pairs = ", ".join(f"{column} = ?" for column in self._columns)
        self._update = f"UPDATE {table} SET {pairs} WHERE id = ?"

    async def insert(self, queries: Queries, record: R) -> None:
        """Raises `ConflictError` when the id or a unique column is taken."""
        await queries.execute(self._insert, self._values(record))

    async def update(self, queries: Queries, record: R) -> None:
        """Writes the whole row of `record.id`. Raises `ConflictError`."""
        await queries.execute(self._update, [*self._values(record), record.id])

    async def delete(self, queries: Queries, row_id: str) -> None:
        await queries.execute(f"DELETE FROM {self.table} WHERE id = ?", (row_id,))

    async def get(self, queries: Queries, reach: Reach, row_id: str) -> R | None:
        found = await self.find(queries, reach, Match(equal={"id": row_id}), Sort(limit=1))
        return found[0] if found else None

    async def many(self, queries: Queries, reach: Reach, ids: Iterable[str]) -> dict[str, R]:
        """Those of these ids that exist and may be seen."""
        wanted = sorted(set(ids))
        found: dict[str, R] = {}
        for start in range(0, len(wanted), CHUNK):
            match = Match(one_of={"id": wanted[start : start + CHUNK]})
            found |= {row.id: row for row in await self.find(queries, reach, match, Sort(limit=CHUNK))}
        return found

    async def find(
        self, queries: Queries, reach: Reach, match: Match = ALL, sort: Sort | None = None
    ) -> list[R]:
        """One page, or with `sort` None all rows by id. Equal sort values are ordered by id."""
        text, params = self._condition(reach, match)
        if sort is None:
            return [
                self._read(row)
                for row in await queries.fetch(f"{self._select} WHERE {text} ORDER BY id", params)
            ]
        way, comparison = ("DESC", "<") if sort.descending else ("ASC", ">")
        if sort.after is not None:
            text += f" AND ({sort.column} {comparison} ? OR ({sort.column} = ? AND id {comparison} ?))"
            params += [sort.after[0], sort.after[0], sort.after[1]]
        order = f"ORDER BY {sort.column} IS NULL, {sort.column} {way}, id {way} LIMIT ? OFFSET ?"
        rows = await queries.fetch(f"{self._select} WHERE {text} {order}", [*params, sort.limit, sort.offset])
        return [self._read(row) for row in rows]

    async def count(self, queries: Queries, reach: Reach, match: Match = ALL) -> int:
        text, params = self._condition(reach, match)
        row = await queries.fetchrow(f"SELECT COUNT(*) AS rows_found FROM {self.table} WHERE {text}", params)
        return 0 if row is None else int(row["rows_found"])

    async def all(self, queries: Queries) -> dict[str, R]:
        """Every row by id; for the gateway itself."""
        return {row.id: row for row in await self.find(queries, EVERYWHERE)}

    def _condition(self, reach: Reach, match: Match) -> tuple[str, list[Value]]:
        text, params = condition(reach, team=self._team, user=self._user)
        if self._extra and not reach.everywhere:
            text, params = self._widened(reach, text, params)
        parts = [text]
        for column, value in match.equal.items():
            if value is None:
                parts.append(f"{column} IS NULL")
            else:
                parts.append(f"{column} = ?")
                params.append(value)
        for column, part in match.contains.items():
            parts.append(f"lower({column}) LIKE ? ESCAPE '\\'")
            params.append(f"%{literal(part.lower())}%")
        for column, values in match.one_of.items():
            found, more = any_of(column, values)
            parts.append(found if more else "1 = 0")
            params += more
        if match.where:
            parts.append(f"({match.where})")
            params += match.params
        return " AND ".join(parts), params

    def _widened(self, reach: Reach, text: str, params: list[Value]) -> tuple[str, list[Value]]:
        """With `extra`: a row also belongs to the organizations and teams its user is a member of."""
        inner, more = condition(reach, team="holder_id")
        return f"({text} OR id IN ({self._extra} AND {inner}))", [*params, *more]

    def _values(self, record: R) -> list[Value]:
        values: list[Value] = []
        for column in self._columns:
            value = getattr(record, column)
            if column in self._json:
                value = msgspec.json.encode(value).decode()
            elif column in self._booleans:
                value = int(value)
            values.append(value)
        return values

    def _read(self, row: Row) -> R:
        values: dict[str, Any] = dict(row)
        for column in self._json:
            values[column] = msgspec.json.decode(values[column])
        for column in self._booleans:
            values[column] = bool(values[column])
        return msgspec.convert(values, self.record)


def literal(text: str) -> str:
    """The text as a LIKE pattern that means itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
