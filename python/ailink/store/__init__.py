"""Durable state: the database protocol, its drivers, migrations and one repository per noun."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ailink.store.database import Database
from ailink.store.sqlite import open_sqlite, path_of


async def open(database_url: str, base_dir: Path) -> Database:
    """Opens the database that `database_url` names; a relative SQLite file lies in `base_dir`.

    Raises ValueError for an address this version cannot use, `DatabaseError` when the database cannot be
    opened.
    """
    scheme = urlsplit(database_url).scheme
    if scheme == "sqlite":
        return await open_sqlite(path_of(database_url, base_dir))
    if scheme in ("postgresql", "postgres"):
        raise ValueError("database_url: PostgreSQL is not supported in this version; use sqlite:///ailink.db")
    raise ValueError(f"database_url: unknown scheme {scheme!r}; use sqlite:///ailink.db")
