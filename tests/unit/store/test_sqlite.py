import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ailink import store
from ailink.store.database import Database, DatabaseError
from ailink.store.sqlite import open_sqlite, path_of


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await store.open("sqlite:///test.db", tmp_path)
    yield opened
    await opened.close()


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///ailink.db", "/data/ailink.db"),
        ("sqlite:///sub/ailink.db", "/data/sub/ailink.db"),
        ("sqlite:////var/lib/ailink.db", "/var/lib/ailink.db"),
    ],
)
def test_address(url: str, path: str) -> None:
    assert path_of(url, Path("/data")) == Path(path)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:ailink.db", "sqlite:///:memory:", "sqlite:///a.db?mode=ro"]
)
def test_address_refused(url: str) -> None:
    with pytest.raises(ValueError):
        path_of(url, Path("/data"))


async def test_unknown_scheme(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown scheme 'mysql'"):
        await store.open("mysql://h/db", tmp_path)


async def test_files_are_the_owners_alone(database: Database, tmp_path: Path) -> None:
    await database.execute("CREATE TABLE t (a TEXT)")
    assert modes(tmp_path) == {"test.db": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600}


async def test_settings(database: Database) -> None:
    assert (await database.fetchrow("PRAGMA journal_mode")) == {"journal_mode": "wal"}
    assert (await database.fetchrow("PRAGMA foreign_keys")) == {"foreign_keys": 1}
    assert (await database.fetchrow("PRAGMA query_only")) == {"query_only": 1}


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"cannot open the database file .*/no/x\.db"):
        await open_sqlite(tmp_path / "no" / "x.db")


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"x" * 4096)
    with pytest.raises(DatabaseError, match="cannot use"):
        await open_sqlite(tmp_path / "x.db")
