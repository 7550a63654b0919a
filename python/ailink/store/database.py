"""What the rest of AILink may ask of a database, whichever one it is.

SQL is written once, in the dialect that SQLite and PostgreSQL share: `?` placeholders, ids and JSON as TEXT,
time as BIGINT microseconds since 1970, money as BIGINT, `x = excluded.x`, no `CURRENT_TIMESTAMP`, no `ILIKE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

Value = str | int | float | bytes | None
Dialect = Literal["sqlite", "postgresql"]
# The columns of a row by name. `Any`, because the repository that asks knows the type of each column; the
# driver does not.
Row = Mapping[str, Any]


class DatabaseError(Exception):
    """The database refused or failed; the message names the statement's purpose, never its parameters."""


class UnavailableError(DatabaseError):
    """The database is not there or does not answer in time; the same call may succeed later."""


class ConflictError(DatabaseError):
    """A UNIQUE, PRIMARY KEY or FOREIGN KEY constraint would be broken."""


class Queries(Protocol):
    """Statements, each in its own transaction unless it comes from `Database.transaction()`."""

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query."""

    async def fetchrow(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """The first row of a query, or None."""

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Runs one statement and returns how many rows it changed.

        Raises `ConflictError`, `DatabaseError`.
        """

    async def executemany(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Runs one statement once per row of parameters, all or nothing."""


class Database(Queries, Protocol):
    """A database: statements, transactions, close."""

    @property
    def dialect(self) -> Dialect:
        """For the few places where the common dialect does not do."""

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        """Statements that are committed together when the block ends and undone when it raises.

        Writers are serialized: whatever else is done inside the block happens in the order of the commits.
        """

    def quiet(self) -> AbstractAsyncContextManager[None]:
        """No transaction of this process is open inside the block: what is read there is not older than what
        was told of it.
        """

    async def has_table(self, name: str) -> bool:
        """Whether a table of this name exists."""

    async def close(self) -> None:
        """Waits for running statements and closes. The object may not be used afterwards."""
