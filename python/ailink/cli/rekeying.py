"""What `ailink rekey` does."""

import asyncio
import base64
import os
from pathlib import Path
from typing import NamedTuple

from ailink import store
from ailink.config.data_dir import DataDir, DataDirError
from ailink.config.schema import Config
from ailink.secrets import keyring
from ailink.secrets.envelope import KEY_BYTES, EnvelopeError
from ailink.secrets.keyring import KeyringError
from ailink.store import migrate
from ailink.store.database import DatabaseError
from ailink.store.migrate import MigrationError


class RekeyError(Exception):
    """Why nothing has changed."""


class Rekeyed(NamedTuple):
    """How many provider keys were sealed anew, and the file with the new key, if it is in one."""

    credentials: int
    file: Path | None


def run(config: Config, variable: str | None) -> Rekeyed:
    """Seals everything under the key in the environment variable, or under a new one in the data directory.
    Raises RekeyError.
    """
    if variable is not None and not os.environ.get(variable):
        raise RekeyError(f"the environment variable {variable} is empty")
    if variable is None and config.encryption_key:
        raise RekeyError("encryption_key is in the configuration: give the new one with --new-key-env")
    try:
        return asyncio.run(_rekey(config, os.environ[variable] if variable else None))
    except (DataDirError, DatabaseError, MigrationError, KeyringError, EnvelopeError, ValueError) as error:
        raise RekeyError(str(error)) from None


async def _rekey(config: Config, given: str | None) -> Rekeyed:
    # The lock keeps a gateway of this directory from sealing with the old key meanwhile.
    data = DataDir(Path(config.data_dir))
    try:
        file = data.path / keyring.FILE_NAME
        old = config.encryption_key.reveal() if config.encryption_key else file.read_text("ascii")
        database = await store.open(config.database_url, data.path)
        try:
            await migrate.apply(database)
            if given is not None:
                return Rekeyed(await keyring.rotate(database, old, given), None)
            # Beside the old one until the database is sealed under it: a crash loses neither.
            successor = _written(file.with_suffix(".new"))
            count = await keyring.rotate(database, old, successor.read_text("ascii"))
            successor.replace(file)
            return Rekeyed(count, file)
        finally:
            await database.close()
    except FileNotFoundError as error:
        raise KeyringError(f"{error.filename} is missing: there is no key to begin with") from error
    finally:
        data.close()


def _written(path: Path) -> Path:
    """A file with a new key, on the disk. Raises KeyringError for one that a crash left."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyringError(
            f"{path} was left by a run that did not end: if the gateway does not start with "
            f"{keyring.FILE_NAME}, the database is sealed under it and it has to take that name; "
            "else remove it"
        ) from None
    try:
        os.write(handle, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    return path
