"""`ailink import litellm`: the store of a gateway that is not running, opened for a move."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ailink import store
from ailink.config.data_dir import DataDir, DataDirError
from ailink.config.schema import Config
from ailink.moving.litellm import Report, move, write_models
from ailink.moving.source import MoveError
from ailink.secrets.keyring import KeyringError, open_keyring
from ailink.store import migrate
from ailink.store.database import DatabaseError
from ailink.store.migrate import MigrationError

__all__ = ["MoveError", "Report", "run"]


def run(config: Config, url: str, salt_key: str | None, *, models: Path | None, dry_run: bool) -> Report:
    """Moves everything, or tells what would be moved. Raises `MoveError`."""
    try:
        report = asyncio.run(_run(config, url, salt_key, dry_run=dry_run))
        if models is not None and not dry_run and report.models:
            write_models(report, models)
    except (DataDirError, DatabaseError, MigrationError, KeyringError, ValueError, OSError) as error:
        raise MoveError(str(error)) from error
    return report


async def _run(config: Config, url: str, salt_key: str | None, *, dry_run: bool) -> Report:
    data = DataDir(Path(config.data_dir))
    try:
        database = await store.open(config.database_url, data.path)
        try:
            await migrate.apply(database)
            encryption_key = config.encryption_key.reveal() if config.encryption_key else None
            keyring = await open_keyring(database, encryption_key=encryption_key, data_dir=data.path)
            return await move(database, keyring, url, salt_key, dry_run=dry_run)
        finally:
            await database.close()
    finally:
        data.close()
