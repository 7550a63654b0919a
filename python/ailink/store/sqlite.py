"""SQLite behind the `Database` protocol: one writer connection, a few readers, write-ahead logging.

`synchronous=FULL` on the writer: what goes through here are rare administrative changes, and a key that was
shown once must still exist after a power cut. The ledger, which is written per request, has its own file and
its own writer.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from ailink.store.database import ConflictError, DatabaseError, Dialect, Queries, Row, Value

READERS = 2
# Milliseconds to wait for another process (a CLI command, a backup) that holds the write lock.
BUSY_TIMEOUT_MS = 5_000


def path_of(database_url: str, base_dir: Path) -> Path:
    """The file meant by `sqlite:///relative` (to `base_dir`) or `sqlite:////absolute`. Raises ValueError."""
    location = database_url.removeprefix("sqlite://")
    if location == database_url or not location.startswith("/") or len(location) == 1:
        raise ValueError(
            f"{database_url!r} is not a SQLite address; write sqlite:///ailink.db or sqlite:////var/lib/ailink.db"
        )
    location = location[1:]
    if location.startswith(":memory:") or "?" in location:
        raise ValueError(
            "a SQLite address names a file: in-memory databases and parameters are not supported"
        )
    return base_dir / location


async def open_sqlite(path: Path) -> SqliteDatabase:
    """Opens the file, made with mode 0600 when it is missing.

    Raises `DatabaseError` when it cannot be used.
    """
    try:
        # SQLite gives -wal and -shm the mode of the main file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError(f"cannot open the database file {path}: {error.strerror}") from error
    opened: list[aiosqlite.Connection] = []
    try:
        for _ in range(1 + READERS):
            opened.append(await _connect(path, query_only=bool(opened)))
    except sqlite3.Error as error:
        for connection in opened:
            await connection.close()
        raise DatabaseError(f"cannot use {path} as a SQLite database: {error}") from error
    return SqliteDatabase(opened[0], opened[1:])


async def _connect(path: Path, *, query_only: bool) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        await _prepare(connection, query_only=query_only)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _prepare(connection: aiosqlite.Connection, *, query_only: bool) -> None:
    connection.row_factory = _as_dict  # type: ignore[assignment]  # annotated as a class; any callable will do
    await connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    await connection.execute("PRAGMA foreign_keys = ON")
    if query_only:
        await connection.execute("PRAGMA query_only = ON")
    else:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Value, ...]) -> dict[str, Value]:
    # In the connection's thread, so that a long result does not hold the event loop.
    return dict(sqlite3.Row(cursor, row))


class _Statements:
    """Statements on one connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        try:
            rows: Iterable[object] = await self._connection.execute_fetchall(sql, params)
        except sqlite3.Error as error:
            raise _translated(error) from error
        return list(rows)  # type: ignore[arg-type]  # dicts, by the row factory

    async def fetchrow(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        rows = await self.fetch(sql, params)
        return rows[0] if rows else None

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        try:
            async with self._connection.execute(sql, params) as cursor:
                return cursor.rowcount
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        try:
            async with self._connection.executemany(sql, rows):
                pass
        except sqlite3.Error as error:
            raise _translated(error) from error


class SqliteDatabase:
    """One writer under a lock, readers taken in turn."""

    dialect: Dialect = "sqlite"

    def __init__(self, writer: aiosqlite.Connection, readers: Sequence[aiosqlite.Connection]) -> None:
        self._writer = writer
        self._readers = readers
        self._turn = 0
        self._writing = asyncio.Lock()

    def _reader(self) -> _Statements:
        self._turn = (self._turn + 1) % len(self._readers)
        return _Statements(self._readers[self._turn])

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return await self._reader().fetch(sql, params)

    async def fetchrow(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        return await self._reader().fetchrow(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        async with self.transaction() as queries:
            return await queries.execute(sql, params)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        async with self.transaction() as queries:
            await queries.executemany(sql, rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Queries]:
        # A cancelled await leaves its statement in the connection's queue; the ROLLBACK queued behind it
        # undoes it.
        async with self._writing:
            statements = _Statements(self._writer)
            try:
                await statements.execute("BEGIN IMMEDIATE")
                yield statements
                await statements.execute("COMMIT")
            except BaseException:
                # Does nothing when no transaction is open; asked in the connection's own thread, after what
                # is queued there.
                await self._writer.rollback()
                raise

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        async with self._writing:
            yield

    async def has_table(self, name: str) -> bool:
        found = await self.fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
        return bool(found)

    async def close(self) -> None:
        async with self._writing:
            for connection in (*self._readers, self._writer):
                await connection.close()


def _translated(error: sqlite3.Error) -> DatabaseError:
    if isinstance(error, sqlite3.IntegrityError):
        return ConflictError(str(error))
    return DatabaseError(str(error))
