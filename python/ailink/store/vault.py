"""Values behind tokens, sealed, by tenant and name."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store.database import Queries

TABLE = "vault_value"
_KEEP = f"""
    INSERT INTO {TABLE} (tenant, name, org_id, sealed, created_us, expires_us) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, name) DO UPDATE SET expires_us = excluded.expires_us
"""
_ORGANIZATION = "organization:"


class KeptValue(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Times are µs since 1970."""

    tenant: str
    name: str
    sealed: str
    created_us: int
    expires_us: int


class TenantCount(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    values: int
    oldest_us: int
    last_expires_us: int


async def keep(queries: Queries, values: Sequence[KeptValue]) -> None:
    """A value that is there already is kept as long as the new one."""
    await queries.executemany(
        _KEEP,
        [
            (row.tenant, row.name, _org(row.tenant), row.sealed, row.created_us, row.expires_us)
            for row in values
        ],
    )


async def find(queries: Queries, tenant: str, names: Sequence[str], now_us: int) -> list[KeptValue]:
    """Those of the names that are kept."""
    if not names:
        return []
    marks = ", ".join("?" * len(names))
    sql = (
        f"SELECT tenant, name, sealed, created_us, expires_us FROM {TABLE} "
        f"WHERE tenant = ? AND expires_us > ? AND name IN ({marks})"
    )
    rows = await queries.fetch(sql, (tenant, now_us, *names))
    return [KeptValue(**dict(row)) for row in rows]


async def counts(queries: Queries) -> list[TenantCount]:
    rows = await queries.fetch(
        "SELECT tenant, COUNT(*) AS held, MIN(created_us) AS oldest_us, MAX(expires_us) AS last_expires_us "
        f"FROM {TABLE} GROUP BY tenant ORDER BY tenant"
    )
    return [
        TenantCount(
            tenant=row["tenant"],
            values=row["held"],
            oldest_us=row["oldest_us"],
            last_expires_us=row["last_expires_us"],
        )
        for row in rows
    ]


async def remove(queries: Queries, tenant: str | None, names: Sequence[str]) -> int:
    """Of one tenant, or of all; those named, or all. How many went."""
    conditions, values = ["1 = 1"], list[str]()
    if tenant is not None:
        conditions.append("tenant = ?")
        values.append(tenant)
    if names:
        conditions.append(f"name IN ({', '.join('?' * len(names))})")
        values += names
    return await queries.execute(f"DELETE FROM {TABLE} WHERE {' AND '.join(conditions)}", values)


async def forget(queries: Queries, now_us: int) -> int:
    """Removes what is not kept any more."""
    return await queries.execute(f"DELETE FROM {TABLE} WHERE expires_us <= ?", (now_us,))


def _org(tenant: str) -> str | None:
    return tenant.removeprefix(_ORGANIZATION) if tenant.startswith(_ORGANIZATION) else None
