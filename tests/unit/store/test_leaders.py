"""One process of all does a task; who was deposed writes nothing more."""

import asyncio
from pathlib import Path

import pytest

from ailink import store
from ailink.store import leaders, migrate
from ailink.store.database import Database

SECOND = 1_000_000


async def opened(url: str, directory: Path) -> Database:
    database = await store.open(url, directory)
    await migrate.apply(database)
    return database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite:///x.db"
    found: str = request.getfixturevalue("database_url")
    return found


async def removes(database: Database, term: leaders.Term) -> None:
    async with database.transaction() as queries:
        await queries.execute("DELETE FROM leader WHERE task = ?", ("other",))
        await leaders.check(queries, term)


def test_a_task_changes_hands(url: str, tmp_path: Path) -> None:
    async def run() -> None:
        database = await opened(url, tmp_path)
        try:
            first = await leaders.claim(database, "t", 60 * SECOND, "a")
            assert first is not None
            assert first == leaders.Term(task="t", fence=1)
            assert await leaders.claim(database, "t", 60 * SECOND, "b") is None
            # Its own again, and another task has nothing to do with it; now it ends at once.
            assert await leaders.claim(database, "t", 0, "a") == first
            assert await leaders.claim(database, "other", SECOND, "b") is not None
            second = await leaders.claim(database, "t", 60 * SECOND, "b")
            assert second is not None
            assert second == leaders.Term(task="t", fence=2)
            # The first one was frozen, and goes on.
            async with database.transaction() as queries:
                await leaders.check(queries, second)
            with pytest.raises(leaders.DeposedError):
                await removes(database, first)
            rows = await database.fetch("SELECT task FROM leader ORDER BY task")
            assert [row["task"] for row in rows] == ["other", "t"]
        finally:
            await database.close()

    asyncio.run(run())


def test_of_many_at_once_one_gets_it(url: str, tmp_path: Path) -> None:
    async def run() -> None:
        database = await opened(url, tmp_path)
        try:
            claims = [leaders.claim(database, "t", 60 * SECOND, f"p{at}") for at in range(12)]
            terms = await asyncio.gather(*claims)
            assert len([term for term in terms if term is not None]) == 1
        finally:
            await database.close()

    asyncio.run(run())
