import asyncio
import base64
import os
import stat
from pathlib import Path

import pytest

from ailink.secrets.envelope import EnvelopeError
from ailink.secrets.keyring import FILE_NAME, KeyringError, credential_place, open_keyring, parse_key, rotate
from ailink.store import credentials
from ailink.store.credentials import CredentialRecord
from ailink.store.database import Database

KEY = base64.b64encode(bytes(range(32))).decode()
NEW = base64.b64encode(bytes(range(100, 132))).decode()


def key_files(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob(f"{FILE_NAME}*")}


def stored_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("test.db*"))


@pytest.mark.parametrize(
    "written",
    [KEY, KEY.rstrip("="), bytes(range(32)).hex(), bytes(range(32)).hex().upper(), f" {KEY}\n",
     base64.urlsafe_b64encode(bytes(range(32))).decode()],
)  # fmt: skip
def test_a_key_may_be_written_in_several_ways(written: str) -> None:
    assert parse_key(written).id == parse_key(KEY).id


@pytest.mark.parametrize(
    "written", ["", "secret", "a" * 64, "A" * 44, KEY + KEY, "ä" * 32, KEY[:-4], "!" * 44]
)
def test_anything_else_is_refused_with_advice(written: str) -> None:
    with pytest.raises(KeyringError, match="openssl rand -base64 32"):
        parse_key(written)


async def test_a_key_is_made_on_the_first_start_and_kept(database: Database, tmp_path: Path) -> None:
    first = await open_keyring(database, encryption_key=None, data_dir=tmp_path)
    assert key_files(tmp_path) == {FILE_NAME: 0o600}
    second = await open_keyring(database, encryption_key=None, data_dir=tmp_path)
    assert (first.pepper, first.key_id) == (second.pepper, second.key_id)
    assert len(first.pepper) == 32
    place = credential_place(None, "cred_1")
    assert second.unseal(first.seal(b"secret", place), place) == b"secret"


async def test_many_at_once_agree(database: Database, tmp_path: Path) -> None:
    rings = await asyncio.gather(
        *(open_keyring(database, encryption_key=None, data_dir=tmp_path) for _ in range(8))
    )
    assert len({ring.pepper for ring in rings}) == 1


async def test_a_configured_key_needs_no_file(database: Database, tmp_path: Path) -> None:
    await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


async def test_a_wrong_key_is_refused_at_the_start(database: Database, tmp_path: Path) -> None:
    await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    with pytest.raises(KeyringError, match="not the encryption key that the database was made with"):
        await open_keyring(database, encryption_key=NEW, data_dir=tmp_path)
    await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)


async def test_a_lost_file_is_not_replaced(database: Database, tmp_path: Path) -> None:
    await open_keyring(database, encryption_key=None, data_dir=tmp_path)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(KeyringError, match="is missing, but the database was made with it"):
        await open_keyring(database, encryption_key=None, data_dir=tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
async def test_a_file_that_others_can_read_is_refused(database: Database, tmp_path: Path, mode: int) -> None:
    await open_keyring(database, encryption_key=None, data_dir=tmp_path)
    (tmp_path / FILE_NAME).chmod(mode)
    with pytest.raises(KeyringError, match="can be read by others"):
        await open_keyring(database, encryption_key=None, data_dir=tmp_path)


async def test_a_file_with_something_else_in_it(database: Database, tmp_path: Path) -> None:
    handle = os.open(tmp_path / FILE_NAME, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(handle, b"\xff\xfe")
    os.close(handle)
    with pytest.raises(KeyringError, match="cannot read the encryption key"):
        await open_keyring(database, encryption_key=None, data_dir=tmp_path)


async def store(database: Database, sealed: str) -> None:
    await credentials.insert(
        database,
        CredentialRecord(
            id="cred_1", name="a", sealed=sealed, created_us=1, created_by="m", updated_us=1, updated_by="m"
        ),
    )


async def test_rotation_keeps_secrets_and_pepper(database: Database, tmp_path: Path) -> None:
    place = credential_place(None, "cred_1")
    old = await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    await store(database, old.seal(b"provider key", place))
    assert await rotate(database, KEY, NEW) == 1
    new = await open_keyring(database, encryption_key=NEW, data_dir=tmp_path)
    assert new.pepper == old.pepper, "or every virtual key would stop"
    record = await credentials.by_name(database, "a")
    assert record is not None
    assert new.unseal(record.sealed, place) == b"provider key"
    with pytest.raises(EnvelopeError):
        old.unseal(record.sealed, place)
    with pytest.raises(KeyringError):
        await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    assert await rotate(database, NEW, KEY) == 1
    assert (await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)).pepper == old.pepper


async def test_a_rotation_that_fails_changes_nothing(database: Database, tmp_path: Path) -> None:
    ring = await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    await store(database, ring.seal(b"x", credential_place(None, "another row")))
    with pytest.raises(EnvelopeError):
        await rotate(database, KEY, NEW)
    await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)


async def test_rotation_needs_the_key_in_force(database: Database, tmp_path: Path) -> None:
    await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    with pytest.raises(KeyringError, match="old key is not"):
        await rotate(database, NEW, KEY)


async def test_the_database_file_holds_no_secret(database: Database, tmp_path: Path) -> None:
    ring = await open_keyring(database, encryption_key=KEY, data_dir=tmp_path)
    await store(database, ring.seal(b"canary-provider-key", credential_place(None, "cred_1")))
    await database.close()
    raw = stored_bytes(tmp_path)
    for secret in (
        b"canary-provider-key",
        bytes(range(32)),
        KEY.encode(),
        bytes(range(32)).hex().encode(),
        ring.pepper,
    ):
        assert secret not in raw
