import asyncio
import stat
from pathlib import Path

import pytest

from ailink import store
from ailink.store.database import ConflictError, Database, DatabaseError
from ailink.store.sqlite import open_sqlite, path_of


@pytest.fixture
async def table(database: Database) -> Database:
    await database.execute("CREATE TABLE thing (id BIGINT PRIMARY KEY, name TEXT)")
    return database


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


@pytest.mark.parametrize("url", ["postgresql://u:p@h/db", "postgres://h/db"])
async def test_postgresql_is_named_as_not_supported(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PostgreSQL is not supported in this version"):
        await store.open(url, tmp_path)


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


async def test_rows_and_counts(table: Database) -> None:
    await table.executemany("INSERT INTO thing (id, name) VALUES (?, ?)", [(1, "a"), (2, "b"), (3, None)])
    assert await table.fetch("SELECT id, name FROM thing WHERE id > ? ORDER BY id", (1,)) == [
        {"id": 2, "name": "b"},
        {"id": 3, "name": None},
    ]
    assert await table.execute("UPDATE thing SET name = ? WHERE id < ?", ("z", 3)) == 2
    assert await table.fetchrow("SELECT name FROM thing WHERE id = 9") is None


async def test_executemany_is_all_or_nothing(table: Database) -> None:
    with pytest.raises(ConflictError):
        await table.executemany("INSERT INTO thing (id) VALUES (?)", [(1,), (2,), (1,)])
    assert await table.fetch("SELECT id FROM thing") == []


async def test_a_transaction_that_raises_leaves_nothing(table: Database) -> None:
    async def undone() -> None:
        async with table.transaction() as queries:
            await queries.execute("INSERT INTO thing (id) VALUES (1)")
            assert await queries.fetch("SELECT id FROM thing") == [{"id": 1}]
            assert await table.fetch("SELECT id FROM thing") == []  # others do not see it yet
            raise KeyError

    with pytest.raises(KeyError):
        await undone()
    assert await table.fetch("SELECT id FROM thing") == []
    await table.execute("INSERT INTO thing (id) VALUES (1)")


async def test_writers_are_serialized(table: Database) -> None:
    await table.execute("INSERT INTO thing (id, name) VALUES (1, '0')")

    async def increment() -> None:
        async with table.transaction() as queries:
            row = await queries.fetchrow("SELECT name FROM thing")
            assert row is not None
            await queries.execute("UPDATE thing SET name = ?", (str(int(row["name"]) + 1),))

    await asyncio.gather(*(increment() for _ in range(50)))
    assert await table.fetchrow("SELECT name FROM thing") == {"name": "50"}


async def test_cancelled_anywhere_the_writer_stays_usable(table: Database) -> None:
    async def change(started: asyncio.Event) -> None:
        async with table.transaction() as queries:
            await queries.execute("INSERT INTO thing (id) VALUES (1)")
            started.set()
            await queries.execute("INSERT INTO thing (id) VALUES (2)")

    for ticks in range(12):
        started = asyncio.Event()
        task = asyncio.create_task(change(started))
        if ticks > 6:
            await started.wait()
        for _ in range(ticks % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        found = await table.fetch("SELECT id FROM thing")
        assert found in ([], [{"id": 1}, {"id": 2}]), "all of a transaction or nothing of it"
        await table.execute("DELETE FROM thing")


async def test_a_statement_that_is_wrong(database: Database) -> None:
    with pytest.raises(DatabaseError):
        await database.fetch("SELECT * FROM nowhere")
    with pytest.raises(DatabaseError):
        await database.execute("DELETE FROM nowhere")


async def test_has_table(table: Database) -> None:
    assert await table.has_table("thing")
    assert not await table.has_table("nothing")
