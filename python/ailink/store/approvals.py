"""Approvals in the database. Whoever executes one has claimed it: `fence` counts the claims."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store.database import Queries, Value

OPEN = ("pending", "approved", "executing")


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be fulfilled. Without roles and users, whoever holds `approvals.write` there may decide."""

    roles: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    quorum: int = 1
    default: str = "reject"
    expiry_us: int


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Times are µs since 1970."""

    id: str
    org_id: str | None
    trace_id: str | None
    team_id: str | None
    user_id: str | None
    key_id: str
    policy: str
    policy_version: int
    phase: str
    mode: str
    model: str
    joins: str
    asked: str
    named: int
    terms: str
    status: str
    message: str | None = None
    sealed: str
    edited: str | None = None
    revision: int = 0
    answer: str | None = None
    answer_status: int | None = None
    answer_trace_id: str | None = None
    fence: int = 0
    claimed_by: str | None = None
    claim_until_us: int | None = None
    created_us: int
    expires_us: int
    use_until_us: int | None = None
    updated_us: int
    version: int = 1

    def told_terms(self) -> Terms:
        return msgspec.json.decode(self.terms, type=Terms)


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """What one reviewer said of one revision."""

    approval_id: str
    revision: int
    reviewer: str
    org_id: str | None = None
    trace_id: str | None = None
    decision: str
    comment: str | None = None
    via: str
    at_us: int


_COLUMNS = ", ".join(Approval.__struct_fields__)
_MARKS = ", ".join("?" for _ in Approval.__struct_fields__)
_VOTE = ", ".join(Vote.__struct_fields__)
_VOTE_MARKS = ", ".join("?" for _ in Vote.__struct_fields__)


async def insert(queries: Queries, record: Approval) -> None:
    await queries.execute(
        f"INSERT INTO approval ({_COLUMNS}) VALUES ({_MARKS})", msgspec.structs.astuple(record)
    )


async def update(queries: Queries, before: Approval, **columns: Value) -> Approval:
    """Call it in the transaction that read `before`."""
    columns["version"] = before.version + 1
    names = ", ".join(f"{name} = ?" for name in columns)
    await queries.execute(f"UPDATE approval SET {names} WHERE id = ?", [*columns.values(), before.id])
    return msgspec.structs.replace(before, **columns)


async def get(queries: Queries, approval_id: str) -> Approval | None:
    row = await queries.fetchrow(f"SELECT {_COLUMNS} FROM approval WHERE id = ?", (approval_id,))
    return None if row is None else Approval(**row)


async def find(queries: Queries, where: str, params: Sequence[Value], limit: int) -> list[Approval]:
    """`where` is SQL of ours. Newest first."""
    sql = f"SELECT {_COLUMNS} FROM approval WHERE {where} ORDER BY created_us DESC, id DESC LIMIT ?"
    return [Approval(**row) for row in await queries.fetch(sql, (*params, limit))]


async def count(queries: Queries, where: str, params: Sequence[Value]) -> int:
    row = await queries.fetchrow(f"SELECT COUNT(*) AS n FROM approval WHERE {where}", params)
    return 0 if row is None else int(row["n"])


async def changed(queries: Queries, since_us: int) -> list[str]:
    rows = await queries.fetch("SELECT id FROM approval WHERE updated_us > ? LIMIT 1000", (since_us,))
    return [row["id"] for row in rows]


async def renew(queries: Queries, process: str, until_us: int) -> None:
    """The claims of a process that is alive."""
    await queries.execute(
        "UPDATE approval SET claim_until_us = ? WHERE status = 'executing' AND claimed_by = ?",
        (until_us, process),
    )


async def vote(queries: Queries, vote: Vote) -> None:
    """The last word of a reviewer on a revision counts."""
    await queries.execute(
        "DELETE FROM approval_vote WHERE approval_id = ? AND revision = ? AND reviewer = ?",
        (vote.approval_id, vote.revision, vote.reviewer),
    )
    await queries.execute(
        f"INSERT INTO approval_vote ({_VOTE}) VALUES ({_VOTE_MARKS})", msgspec.structs.astuple(vote)
    )


async def votes(queries: Queries, approval_id: str) -> list[Vote]:
    sql = f"SELECT {_VOTE} FROM approval_vote WHERE approval_id = ? ORDER BY at_us, reviewer"
    return [Vote(**row) for row in await queries.fetch(sql, (approval_id,))]


async def forget_answers(queries: Queries, before_us: int) -> int:
    sql = "UPDATE approval SET answer = NULL WHERE answer IS NOT NULL AND updated_us < ?"
    return await queries.execute(sql, (before_us,))


async def forget(queries: Queries, before_us: int) -> int:
    """Removes what ended long ago."""
    ended = f"updated_us < ? AND status NOT IN ({', '.join(repr(status) for status in OPEN)})"
    votes = f"DELETE FROM approval_vote WHERE approval_id IN (SELECT id FROM approval WHERE {ended})"
    await queries.execute(votes, (before_us,))
    return await queries.execute(f"DELETE FROM approval WHERE {ended}", (before_us,))
