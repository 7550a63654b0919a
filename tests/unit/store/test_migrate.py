import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ailink import store
from ailink.store import migrate
from ailink.store.database import Database, DatabaseError
from ailink.store.migrate import Migration, MigrationError, Status, statements

ONE = Migration(1, "one", "CREATE TABLE one (id TEXT);\nINSERT INTO one VALUES ('a;b'); -- not; here\n")
TWO = Migration(2, "two", "CREATE TABLE two (id TEXT);")


@pytest.fixture
async def empty(tmp_path: Path, store_url: str) -> AsyncIterator[Database]:
    opened = await store.open(store_url, tmp_path)
    yield opened
    await opened.close()


async def test_each_is_applied_once_and_in_order(empty: Database) -> None:
    assert await migrate.apply(empty, [ONE]) == Status((), (1,))
    assert await migrate.apply(empty, [ONE]) == Status((1,), ())
    assert await migrate.apply(empty, [ONE, TWO]) == Status((1,), (2,))
    assert await empty.fetch("SELECT id FROM one") == [{"id": "a;b"}]
    assert await migrate.check(empty, [ONE, TWO]) == Status((1, 2), ())


async def test_check_changes_nothing(empty: Database) -> None:
    assert await migrate.check(empty, [ONE]) == Status((), (1,))
    assert not await empty.has_table("schema_migrations")


@pytest.mark.parametrize("act", [migrate.apply, migrate.check])
async def test_a_changed_file_is_refused(empty: Database, act: object) -> None:
    await migrate.apply(empty, [ONE])
    changed = ONE._replace(sql=ONE.sql.replace("'a;b'", "'c'"))
    with pytest.raises(MigrationError, match="0001_one was changed after it had been applied"):
        await act(empty, [changed])  # type: ignore[operator]


async def test_a_newer_database_is_refused(empty: Database) -> None:
    await migrate.apply(empty, [ONE, TWO])
    with pytest.raises(MigrationError, match="0002_two, which this version of AILink does not know"):
        await migrate.apply(empty, [ONE])


async def test_a_gap_is_refused(empty: Database) -> None:
    await migrate.apply(empty, [ONE, TWO])
    await empty.execute("DELETE FROM schema_migrations WHERE version = 1")
    with pytest.raises(MigrationError, match="one before the last is missing"):
        await migrate.apply(empty, [ONE, TWO])


async def test_a_failed_migration_leaves_nothing(empty: Database) -> None:
    bad = Migration(2, "bad", "CREATE TABLE two (id TEXT);\nCREATE TABLE two (id TEXT);")
    with pytest.raises(DatabaseError):
        await migrate.apply(empty, [ONE, bad])
    assert not await empty.has_table("one")
    assert await migrate.apply(empty, [ONE, TWO]) == Status((), (1, 2))


async def test_two_processes_may_start_at_once(tmp_path: Path) -> None:
    databases = [await store.open("sqlite:///shared.db", tmp_path) for _ in range(4)]
    try:
        statuses = await asyncio.gather(*(migrate.apply(database) for database in databases))
        assert sorted(len(status.pending) for status in statuses) == [0, 0, 0, len(migrate.shipped())]
    finally:
        for database in databases:
            await database.close()


async def test_what_is_shipped_applies(empty: Database) -> None:
    await migrate.apply(empty)
    assert (await migrate.check(empty)).pending == ()


async def test_every_table_knows_its_owner_and_its_writer(tmp_path: Path) -> None:
    database = await store.open("sqlite:///test.db", tmp_path)
    await migrate.apply(database)
    tables = await database.fetch(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_migrations'"
    )
    assert len(tables) >= 4
    for table in tables:
        columns = {row["name"] for row in await database.fetch(f"PRAGMA table_info({table['name']})")}
        assert {"org_id", "trace_id"} <= columns, table["name"]
    await database.close()


def test_what_was_shipped_stays_as_it_was() -> None:
    # A database that has a migration refuses another wording of it: write the next one instead.
    assert {migration.name: migration.sha256 for migration in migrate.shipped()} == {
        "init": "72a425d94a4e1e6be11ace87e95f450d6b6fadd645c9159c3860f07fbb0e4e2b",
        "tenancy": "97b64f98c53f291ec778d5d6348629086c0d06bf4ffa170e8c77e27867e025b3",
        "nodes": "4323d48a0e6e24d98dd9982a6cadbe1919a3e639f36b299c3e049c8ea9971e40",
        "alerts": "c0509c28e7a5a33306c4b0dee2a6b41fa9e43b5b1604694ade7bdd75e167c988",
        "routing": "c64e73618118fed65b4bffae045152f8cae4d48bd60670d945e2ff5b844063cc",
        "policies": "a95d0197ff68fedee1a760fb60c8ac571c320435ff89a868c330c972d274a20a",
        "mirrors": "af888bb4fe4968027c8705a65d06367ea5ee6c4abdace1ae900c49c43ebe6d31",
        "config_objects": "3d6230ee372a06382fa702ea71acec1df5533f182b4cea780a6aa924c1928755",
        "approvals": "5da5a5f16480057679c909ebe16b250780cd5c3547dda4b666a9dd79796af5dc",
        "groups": "56f235476b3a2527f5c8e594f955229c82c6054b4ca893f53c523ef42aa488ae",
        "reports": "724d3a9e73526e476db2cb21d68b369f3413c88bce28777c59ac1e18fbf77c4a",
        "vault": "a5a09f19c00c527a5a19a16ebfb19baa6de4bdd2f7c220cf287b19e5644afbda",
        "questions": "7b28d7a689bc6a1622256436bead82d7a6f616bf2b670a21881364bfa34d9889",
        "ledger_keys": "08177802b677a2c4f34dc71da69f2e281077c3edb5e9785de9044e15312940fa",
        "leaders": "42a3f3cec94e2be3f89b63670d3c7a8c7a6ab1a9c59625a0a9a820ed5f2b2fce",
        "batches": "4623eccba77abf7687148d45a9e674b43b34550ff9ea3edc537032346f012f8e",
        "client_secrets": "a7f3fcdc86f8d8a31338c286bde4898bdd8908a369c1a799ff83481bfe074b81",
        "verdicts": "05f626fe56a60ec7faab0bae067eb6069f63ebd01b90d6557c3be5b9ecdd5c01",
        "batch_lines": "05d7a99a9e2c4f42331097fc0ba6168671f0e4dd741d624a9c4f41c73a0b8bf6",
        "key_uses": "e686c6573c6af79fd53901d0d5d35acd9cf00773b10580963d9ac04e9b08c966",
        "decisions": "7a3c4a9d0b9f600dac9a5e6b14dc640b9046b970844715009a1bdd9f6d297f7d",
        "stored": "1a57876719f99bdf43308b4e6be5d2dbdb05e9d519772138887648cbcff861ea",
    }


def test_statements_end_where_sql_says_so() -> None:
    script = "-- one; two\nCREATE TABLE a (b TEXT DEFAULT ';');\n\nINSERT INTO a\nVALUES ('x');\n-- done\n"
    assert list(statements(script)) == [
        "-- one; two\nCREATE TABLE a (b TEXT DEFAULT ';');",
        "INSERT INTO a\nVALUES ('x');",
    ]


def test_half_a_statement_is_refused() -> None:
    with pytest.raises(MigrationError, match="middle of a statement"):
        list(statements("CREATE TABLE a (b TEXT)"))
