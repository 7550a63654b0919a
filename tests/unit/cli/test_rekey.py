"""`ailink rekey`: what is refused changes nothing; a file takes the place of the old one."""

import asyncio
from pathlib import Path

import pytest

from ailink import store
from ailink.cli.rekeying import RekeyError, run
from ailink.config.schema import Config
from ailink.config.secret import Secret
from ailink.secrets.keyring import FILE_NAME, open_keyring
from ailink.store import migrate

KEY = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
NEW = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def config(directory: Path, key: str | None = None) -> Config:
    return Config(data_dir=str(directory), encryption_key=None if key is None else Secret(key))


async def opened(directory: Path, key: str | None) -> bytes:
    """The pepper, if the key is the one of the database."""
    database = await store.open(Config().database_url, directory)
    try:
        await migrate.apply(database)
        return (await open_keyring(database, encryption_key=key, data_dir=directory)).pepper
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("key", "variable", "value", "text"),
    [
        (KEY, None, "", "--new-key-env"),
        (KEY, "NEW_KEY", "", "NEW_KEY is empty"),
        (KEY, "NEW_KEY", "short", "32 random bytes"),
        (NEW, "NEW_KEY", NEW, "old key is not"),
    ],
)
def test_what_is_refused_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, variable: str | None, value: str, text: str
) -> None:
    pepper = asyncio.run(opened(tmp_path, KEY))
    monkeypatch.setenv("NEW_KEY", value)
    with pytest.raises(RekeyError, match=text):
        run(config(tmp_path, key), variable)
    assert asyncio.run(opened(tmp_path, KEY)) == pepper


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(RekeyError, match="is missing"):
        run(config(tmp_path), None)
    pepper = asyncio.run(opened(tmp_path, None))
    file = tmp_path / FILE_NAME
    before = file.read_bytes()
    assert run(config(tmp_path), None).file == file
    assert file.read_bytes() != before
    assert file.stat().st_mode & 0o077 == 0
    assert asyncio.run(opened(tmp_path, None)) == pepper
    left = file.with_suffix(".new")
    left.write_text("x")
    with pytest.raises(RekeyError, match="did not end"):
        run(config(tmp_path), None)
    assert left.read_text() == "x"
