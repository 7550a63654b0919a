"""Provider credentials in the database: a name, what may be shown, and the sealed value."""

from __future__ import annotations

from typing import Any

import msgspec

from ailink.store.database import Queries, Row, Value

TABLE = "credential"


class CredentialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `sealed` is the envelope of the provider's key, bound to this table, row and column."""

    id: str
    org_id: str | None = None
    trace_id: str | None = None
    name: str
    sealed: str
    info: dict[str, Any] = {}
    created_us: int
    created_by: str
    updated_us: int
    updated_by: str


COLUMNS = CredentialRecord.__struct_fields__

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
_INSERT = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})"
_UPDATE = f"UPDATE {TABLE} SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE id = ?"


async def insert(queries: Queries, record: CredentialRecord) -> None:
    """Raises `ConflictError` when the name is taken."""
    await queries.execute(_INSERT, _values(record))


async def update(queries: Queries, record: CredentialRecord) -> None:
    """Writes the whole row of `record.id`."""
    await queries.execute(_UPDATE, (*_values(record), record.id))


async def delete(queries: Queries, credential_id: str) -> None:
    await queries.execute(f"DELETE FROM {TABLE} WHERE id = ?", (credential_id,))


async def by_name(queries: Queries, name: str) -> CredentialRecord | None:
    row = await queries.fetchrow(f"{_SELECT} WHERE name = ?", (name,))
    return None if row is None else _record(row)


async def everything(queries: Queries) -> list[CredentialRecord]:
    """All credentials by name."""
    return [_record(row) for row in await queries.fetch(f"{_SELECT} ORDER BY name")]


def _values(record: CredentialRecord) -> list[Value]:
    values: list[Value] = [getattr(record, column) for column in COLUMNS]
    values[COLUMNS.index("info")] = msgspec.json.encode(record.info).decode()
    return values


def _record(row: Row) -> CredentialRecord:
    return msgspec.convert({**row, "info": msgspec.json.decode(row["info"])}, CredentialRecord)


def slot(name: str) -> str:
    """The id of a credential in the data plane; what a deployment names as its `credential`."""
    return f"credential/{name}"
