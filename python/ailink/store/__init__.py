"""Durable state: the database protocol, its drivers, migrations and one repository per noun."""

from __future__ import annotations

import importlib
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
        try:
            # An extra, and 20 ms of start that a file in the data directory does not need.
            postgres = importlib.import_module("ailink.store.postgres")
        except ModuleNotFoundError as error:
            raise ValueError(
                f"database_url: PostgreSQL needs {error.name}: pip install 'ailink[postgres]'"
            ) from None
        opened: Database = await postgres.open_postgres(database_url)
        return opened
    raise ValueError(
        f"database_url: unknown scheme {scheme!r}; use sqlite:///ailink.db or postgresql://user@host/database"
    )
