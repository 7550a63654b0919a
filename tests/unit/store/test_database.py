"""What both kinds of database do alike."""

import asyncio

import pytest

from ailink.store.database import ConflictError, Database, DatabaseError


@pytest.fixture
async def table(database: Database) -> Database:
    await database.execute("CREATE TABLE thing (id BIGINT PRIMARY KEY, name TEXT)")
    return database


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
