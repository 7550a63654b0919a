"""PostgreSQL behind the `Database` protocol: for several nodes, or one that keeps its rows elsewhere.

Every statement runs in a transaction of its own and nothing outlives it: no prepared statement, no `SET`, no
`LISTEN`. That is what lets PgBouncer hand each transaction to another server connection. It costs two round
trips more per statement, and what goes through here are rare administrative calls.

Whatever the server or the network does, a statement ends within `STATEMENT_S`: a connection that did not
answer is thrown away, and for `COOL_S` nobody else waits for one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

import asyncpg

from ailink.store.database import ConflictError, DatabaseError, Dialect, Queries, Row, UnavailableError, Value

POOL = 8
CONNECT_S = 3.0
STATEMENT_S = 5.0
# After a failure to connect, how long others are told so at once.
COOL_S = 0.5
# One number for all of AILink: whoever writes administrative rows holds it until its commit.
WRITE_LOCK = 727_272
# A node that freezes inside a transaction loses it, and its lock, after this.
IDLE_MS = 10_000
BEGIN = f"BEGIN; SET LOCAL statement_timeout = {int(STATEMENT_S * 1_000)}"
BEGIN_WRITE = (
    f"{BEGIN}; SET LOCAL lock_timeout = {int(STATEMENT_S * 800)}; "
    f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
)
BEGIN_APART = f"{BEGIN}; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}"
# Not the server's refusal of a statement, but trouble with the server itself: it may pass.
TROUBLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # its connection was lost in the middle of an exchange
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, starting up, statement time-out
    asyncpg.InsufficientResourcesError,  # too many connections, full disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_QUOTED = re.compile(r"('(?:[^']|'')*')")
_COUNT = re.compile(r"(?:INSERT \d+|UPDATE|DELETE|SELECT|COPY|MERGE) (\d+)")
_KEY = re.compile(r"Key \((.*?)\)=")


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is not annotated in full
    def get_reset_query(self) -> str:
        # Nothing outlives a transaction here; behind PgBouncer it would be another server's session anyway.
        return ""


async def open_postgres(database_url: str) -> PostgresDatabase:
    """Connects once, to fail at the start for what is wrong with the address.

    Raises ValueError for an address that is none, `DatabaseError` for a server that refuses or is not there.
    """
    try:
        pool = await asyncpg.create_pool(
            database_url,
            min_size=0,
            max_size=POOL,
            timeout=CONNECT_S,
            max_inactive_connection_lifetime=60.0,
            statement_cache_size=0,
            connection_class=_Connection,
            server_settings={"application_name": "ailink"},
        )
    except (ValueError, asyncpg.ClientConfigurationError) as error:
        raise ValueError(f"database_url: {error}") from None
    database = PostgresDatabase(pool)
    try:
        await database.fetch("SELECT 1 AS one")
    except DatabaseError:
        pool.terminate()
        raise
    return database


@lru_cache(maxsize=1_024)
def numbered(sql: str) -> str:
    """`?` placeholders as `$1`, `$2`, …; those in quoted texts stay."""
    parts = _QUOTED.split(sql)
    count = 0
    for at in range(0, len(parts), 2):
        pieces = parts[at].split("?")
        text = pieces[0]
        for piece in pieces[1:]:
            count += 1
            text += f"${count}{piece}"
        parts[at] = text
    return "".join(parts)


class _Statements:
    """Statements in an open transaction."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        rows = await self._connection.fetch(numbered(sql), *params)
        return [dict(row) for row in rows]

    async def fetchrow(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        row = await self._connection.fetchrow(numbered(sql), *params)
        return None if row is None else dict(row)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        # Without parameters too in the extended protocol: the simple one would take several statements.
        statement = await self._connection.prepare(numbered(sql))
        await statement.fetch(*params)
        count = _COUNT.fullmatch(statement.get_statusmsg())
        return int(count[1]) if count else 0

    async def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._connection.executemany(numbered(sql), rows)


class PostgresDatabase:
    """A pool of at most `POOL` connections; writers one after the other, over all nodes."""

    dialect: Dialect = "postgresql"

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._writing = asyncio.Lock()
        self._cool_until = 0.0
        self._why = ""

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        async with self.reading() as queries:
            return await queries.fetch(sql, params)

    async def fetchrow(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        async with self.reading() as queries:
            return await queries.fetchrow(sql, params)

    async def fetch_rows(self, sql: str, params: Sequence[Value] = ()) -> list[tuple[object, ...]]:
        """All rows of a query, by position: columns may share a name."""
        async with self.connection(BEGIN) as connection:
            async with _within():
                return [tuple(row.values()) for row in await connection.fetch(numbered(sql), *params)]

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        async with self.transaction() as queries:
            return await queries.execute(sql, params)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        async with self.transaction() as queries:
            await queries.executemany(sql, rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Queries]:
        async with self._writing, self.connection(BEGIN_WRITE) as connection:
            async with _within():
                await connection.fetch("SELECT pg_advisory_xact_lock($1)", WRITE_LOCK)
            yield _Guarded(connection)

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[Queries]:
        """Statements that are committed together, beside those that administer: no lock is waited for but of
        the rows.
        """
        async with self.connection(BEGIN_APART) as connection:
            yield _Guarded(connection)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Queries]:
        """Statements that see committed rows; nothing is locked."""
        async with self.connection(BEGIN) as connection:
            yield _Guarded(connection)

    @asynccontextmanager
    async def connection(self, begin: str, seconds: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction that ends with the block, which may take so long. For COPY; raises as
        statements do.
        """
        connection = await self._acquire()
        usable = False
        try:
            async with asyncio.timeout(STATEMENT_S):
                await connection.execute(begin)
            async with asyncio.timeout(seconds):
                yield connection
            async with asyncio.timeout(STATEMENT_S):
                await connection.execute("COMMIT")
            usable = True
        except BaseException as error:
            if not _fatal(error) and not connection.is_closed():
                usable = await _rolled_back(connection)
            raise _translated(error) from error
        finally:
            if not usable:
                connection.terminate()
            await self._pool.release(connection)

    async def _acquire(self) -> asyncpg.Connection:
        if time.monotonic() < self._cool_until:
            raise UnavailableError(self._why)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._pool.acquire()
        except Exception as error:
            translated = _translated(error)
            self._why = str(translated)
            self._cool_until = time.monotonic() + COOL_S
            raise translated from error

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        async with self._writing:
            yield

    async def has_table(self, name: str) -> bool:
        found = await self.fetch("SELECT to_regclass(?) IS NOT NULL AS found", (name,))
        return bool(found[0]["found"])

    async def close(self) -> None:
        try:
            async with asyncio.timeout(STATEMENT_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


class _Guarded(_Statements):
    """Each statement within its time, its errors in our terms."""

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        async with _within():
            return await super().fetch(sql, params)

    async def fetchrow(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        async with _within():
            return await super().fetchrow(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        async with _within():
            return await super().execute(sql, params)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        async with _within():
            await super().executemany(sql, rows)


@asynccontextmanager
async def _within() -> AsyncIterator[None]:
    try:
        # A little longer than the server's own limit, whose message is the better one.
        async with asyncio.timeout(STATEMENT_S + 0.5):
            yield
    except Exception as error:
        raise _translated(error) from error


async def _rolled_back(connection: asyncpg.Connection) -> bool:
    try:
        async with asyncio.timeout(1.0):
            await connection.execute("ROLLBACK")
    except Exception:  # noqa: BLE001 - whatever it is, the connection is not used again
        return False
    return True


def _fatal(error: BaseException) -> bool:
    """Whether the connection may be in the middle of something."""
    return isinstance(error, (*TROUBLE, UnavailableError, asyncio.CancelledError))


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, asyncpg.UniqueViolationError):
        return ConflictError(_unique(error))
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return ConflictError(str(error))
    if isinstance(error, TROUBLE):
        return UnavailableError(f"the database does not answer: {_reason(error)}")
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | ValueError | OverflowError):
        return DatabaseError(str(error))
    return error


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or type(error).__name__


def _unique(error: asyncpg.UniqueViolationError) -> str:
    """What SQLite says of it: callers read the column from there."""
    index, table = error.constraint_name or "", error.table_name or ""
    columns = _KEY.match(error.detail or "")
    if columns is None or "(" in columns[1]:
        return f"UNIQUE constraint failed: index '{index}'"
    names = ", ".join(f"{table}.{column.strip()}" for column in columns[1].split(","))
    return f"UNIQUE constraint failed: {names}"
