"""Numbered SQL files, applied in order, once, and never changed afterwards.

`migrations/NNNN_name.sql` in the common dialect; where PostgreSQL has to differ, `NNNN_name.pg.sql` stands in
for it there. What was applied stands in `schema_migrations` with the
SHA-256 of the file. Forward only: a mistake is mended by the next number.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import NamedTuple

from ailink.store.database import Database, Dialect, Queries

FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
OVERRIDE = re.compile(r"(\d{4})_([a-z0-9_]+)\.pg\.sql")

BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    BIGINT PRIMARY KEY,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    applied_us BIGINT NOT NULL
)
"""


class MigrationError(Exception):
    """The database and the migrations of this program do not belong together; says what to do."""


class Migration(NamedTuple):
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Status(NamedTuple):
    """Versions in the database, and those that `apply` would add."""

    applied: tuple[int, ...]
    pending: tuple[int, ...]


def shipped(dialect: Dialect = "sqlite") -> tuple[Migration, ...]:
    """The migrations of this program, in order."""
    files = list((resources.files("ailink.store") / "migrations").iterdir())
    patterns = (FILE_NAME, OVERRIDE) if dialect == "postgresql" else (FILE_NAME,)
    by_version: dict[int, Migration] = {}
    for pattern in patterns:
        for file in files:
            match = pattern.fullmatch(file.name)
            if match:
                # Text mode: the checksum does not depend on how the checkout ends its lines.
                text = file.read_text(encoding="utf-8")
                taken = by_version.get(int(match[1]))
                if taken is not None and taken.name != match[2]:
                    raise MigrationError(f"two migrations are numbered {match[1]}: {taken.name}, {match[2]}")
                by_version[int(match[1])] = Migration(int(match[1]), match[2], text)
    found = sorted(by_version.values())
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationError("the migration files are not numbered 0001, 0002, … without gaps")
    return tuple(found)


async def check(database: Database, migrations: Sequence[Migration] | None = None) -> Status:
    """Compares without changing anything. Raises `MigrationError` when they do not belong together."""
    known = shipped(database.dialect) if migrations is None else migrations
    exists = await database.has_table("schema_migrations")
    return _status(known, await _recorded(database) if exists else {})


async def apply(database: Database, migrations: Sequence[Migration] | None = None) -> Status:
    """Applies what is missing, all in one transaction, and returns the state before.

    Raises `MigrationError`.
    """
    known = shipped(database.dialect) if migrations is None else migrations
    async with database.transaction() as queries:
        await queries.execute(BOOKKEEPING)
        status = _status(known, await _recorded(queries))
        for migration in known:
            if migration.version in status.pending:
                await _run(queries, migration)
    return status


async def _recorded(queries: Queries) -> dict[int, tuple[str, str]]:
    rows = await queries.fetch("SELECT version, name, sha256 FROM schema_migrations ORDER BY version")
    return {row["version"]: (row["name"], row["sha256"]) for row in rows}


def _status(known: Sequence[Migration], recorded: dict[int, tuple[str, str]]) -> Status:
    newest = known[-1].version if known else 0
    for version, (name, sha256) in recorded.items():
        if version > newest:
            raise MigrationError(
                f"the database has migration {version:04d}_{name}, which this version of AILink does not "
                "know: start the newer version that wrote it, or restore a backup"
            )
        if sha256 != known[version - 1].sha256:
            raise MigrationError(
                f"migration {version:04d}_{name} was changed after it had been applied to this database: "
                "reinstall the AILink version that created it, or restore a backup"
            )
    applied = tuple(recorded)
    if applied != tuple(range(1, len(applied) + 1)):
        raise MigrationError(f"the database has migrations {list(applied)}: one before the last is missing")
    return Status(applied, tuple(migration.version for migration in known[len(applied) :]))


async def _run(queries: Queries, migration: Migration) -> None:
    for statement in statements(migration.sql):
        await queries.execute(statement)
    await queries.execute(
        "INSERT INTO schema_migrations (version, name, sha256, applied_us) VALUES (?, ?, ?, ?)",
        (migration.version, migration.name, migration.sha256, time.time_ns() // 1_000),
    )


def statements(sql: str) -> Iterator[str]:
    """Splits a script into its statements; semicolons in strings, comments and triggers do not split."""
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        # Drivers run one statement at a time; sqlite3's own tokenizer tells where one ends.
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if any(line.strip() and not line.strip().startswith("--") for line in pending.splitlines()):
        raise MigrationError("a migration ends in the middle of a statement")
