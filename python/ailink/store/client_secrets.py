"""Keys for a while, which stand for a virtual key."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store.database import Queries


class ClientSecret(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `digest` is hexadecimal, times are µs since 1970."""

    digest: str
    key_id: str
    org_id: str | None = None
    trace_id: str | None = None
    model: str
    created_us: int
    expires_us: int


_COLUMNS = ", ".join(ClientSecret.__struct_fields__)
_MARKS = ", ".join("?" for _ in ClientSecret.__struct_fields__)


async def insert(queries: Queries, record: ClientSecret) -> None:
    await queries.execute(
        f"INSERT INTO client_secret ({_COLUMNS}) VALUES ({_MARKS})", msgspec.structs.astuple(record)
    )


async def of(queries: Queries, key_ids: Sequence[str], now_us: int) -> list[ClientSecret]:
    """Those of these keys that have not ended."""
    if not key_ids:
        return []
    marks = ", ".join("?" for _ in key_ids)
    sql = f"SELECT {_COLUMNS} FROM client_secret WHERE expires_us > ? AND key_id IN ({marks})"
    return [ClientSecret(**row) for row in await queries.fetch(sql, (now_us, *key_ids))]


async def count(queries: Queries, key_id: str, now_us: int) -> int:
    """How many a key has that have not ended."""
    row = await queries.fetchrow(
        "SELECT COUNT(*) AS n FROM client_secret WHERE key_id = ? AND expires_us > ?", (key_id, now_us)
    )
    return 0 if row is None else int(row["n"])


async def forget(queries: Queries, now_us: int) -> int:
    """Those that have ended."""
    return await queries.execute("DELETE FROM client_secret WHERE expires_us <= ?", (now_us,))
