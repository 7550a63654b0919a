"""What `ailink migrate` does with the database."""

import asyncio
from pathlib import Path

from ailink import store
from ailink.config.data_dir import DataDir, DataDirError
from ailink.config.schema import Config
from ailink.store import migrate
from ailink.store.database import DatabaseError
from ailink.store.migrate import MigrationError, Status


class MigrateError(Exception):
    """Why the database cannot be migrated."""


def run(config: Config, *, check_only: bool) -> Status:
    """Applies what is pending, or only looks; the state before. Raises MigrateError."""
    data_dir = Path(config.data_dir)
    # SQLite's file lies there; looking must not make it.
    if check_only and config.database_url.startswith("sqlite") and not data_dir.is_dir():
        return Status((), tuple(migration.version for migration in migrate.shipped()))
    try:
        return asyncio.run(_check(config) if check_only else _apply(config))
    except (DataDirError, DatabaseError, MigrationError, ValueError) as error:
        raise MigrateError(str(error)) from None


async def _check(config: Config) -> Status:
    database = await store.open(config.database_url, Path(config.data_dir))
    try:
        return await migrate.check(database)
    finally:
        await database.close()


async def _apply(config: Config) -> Status:
    # The lock keeps a running gateway from finding another schema under its feet.
    data = DataDir(Path(config.data_dir))
    try:
        database = await store.open(config.database_url, data.path)
        try:
            return await migrate.apply(database)
        finally:
            await database.close()
    finally:
        data.close()
