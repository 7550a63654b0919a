"""Policies in the database: the version in force, and all that were."""

from __future__ import annotations

from typing import Any

import msgspec

from ailink.store.database import Queries


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `body`: the policy as it was sent, without its name; None: deleted with this version."""

    name: str
    version: int
    body: dict[str, Any] | None
    at_us: int
    by: str


_ALL = "SELECT name, version, body, updated_us AS at_us, updated_by AS by FROM policy"
_VERSIONS = "SELECT name, version, body, created_us AS at_us, created_by AS by FROM policy_version"


async def everything(queries: Queries) -> list[PolicyRecord]:
    """Those in force, by name."""
    return [_record(row) for row in await queries.fetch(f"{_ALL} ORDER BY name")]


async def by_name(queries: Queries, name: str) -> PolicyRecord | None:
    row = await queries.fetchrow(f"{_ALL} WHERE name = ?", (name,))
    return None if row is None else _record(row)


async def versions(queries: Queries, name: str) -> list[PolicyRecord]:
    """All versions there were, newest first."""
    rows = await queries.fetch(f"{_VERSIONS} WHERE name = ? ORDER BY version DESC", (name,))
    return [_record(row) for row in rows]


async def put(queries: Queries, record: PolicyRecord, trace_id: str | None) -> None:
    """Makes this the version in force, or deletes the policy. Call it in a transaction."""
    body = None if record.body is None else msgspec.json.encode(record.body).decode()
    await queries.execute(
        "INSERT INTO policy_version (name, version, trace_id, body, created_us, created_by) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (record.name, record.version, trace_id, body, record.at_us, record.by),
    )
    await queries.execute("DELETE FROM policy WHERE name = ?", (record.name,))
    if body is not None:
        await queries.execute(
            "INSERT INTO policy (name, trace_id, version, body, created_us, updated_us, updated_by) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (record.name, trace_id, record.version, body, record.at_us, record.at_us, record.by),
        )


def _record(row: Any) -> PolicyRecord:
    body = row["body"]
    return PolicyRecord(
        name=row["name"],
        version=row["version"],
        body=None if body is None else msgspec.json.decode(body),
        at_us=row["at_us"],
        by=row["by"],
    )
