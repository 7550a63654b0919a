"""`/v1/approvals`: what waits for people, and what they say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.approvals.decisions import Decision, etag, plain
from ailink.approvals.patch import difference
from ailink.store import approvals
from ailink.store.approvals import Approval, Vote
from ailink.store.database import Value

Status = Literal[
    "pending",
    "approved",
    "rejected",
    "expired",
    "cancelled",
    "executing",
    "executed",
    "failed",
    "unknown",
    "lapsed",
]
_Comment = Annotated[str, Meta(max_length=2_000)]
# Read at once, to find those that the caller may see.
BATCH = 200


class ApprovalsQuery(Request, frozen=True, kw_only=True):
    """`after`: the id of the last one of the page before."""

    status: Status | None = None
    policy: str | None = None
    key_id: str | None = None
    model: str | None = None
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    """Times are µs since 1970. `approvals` of `quorum` reviewers have approved what it is now."""

    id: str
    etag: str
    status: Status
    policy: str
    policy_version: int
    phase: str
    mode: str
    model: str
    key_id: str
    user_id: str | None
    team_id: str | None
    organization_id: str | None
    request_id: str | None
    revision: int
    quorum: int
    default: str
    reviewer_roles: list[str]
    reviewer_users: list[str]
    message: str | None
    answer_status: int | None
    answer_request_id: str | None
    created_us: int
    expires_us: int
    use_until_us: int | None
    updated_us: int


class ApprovalsView(msgspec.Struct, frozen=True, kw_only=True):
    approvals: list[ApprovalView]
    has_more: bool


class ApprovalDetail(ApprovalView, frozen=True, kw_only=True):
    """`request`: what was asked; `answer`: what waits to be let out; `tool_calls`: the calls in it.
    `diff`: what edits changed, as a JSON patch.
    """

    request: Any
    answer: Any
    tool_calls: Any
    diff: list[dict[str, Any]]
    approvals: int
    votes: list[Vote]
    may_decide: bool


class Decide(Request, frozen=True, kw_only=True):
    """`edit` approves what the patch makes of it."""

    decision: Literal["approve", "reject", "edit"]
    comment: _Comment | None = None
    patch: list[dict[str, Any]] | None = None


class End(Request, frozen=True, kw_only=True):
    comment: _Comment | None = None


async def list_approvals(services: Services, call: Call[Nothing, ApprovalsQuery]) -> ApprovalsView:
    """Those that the caller asked for, may decide on, or may read; newest first."""
    query, actor = call.query, call.caller.acting
    where, params = ["1 = 1"], list[Value]()
    for column in ("status", "policy", "key_id", "model"):
        if (value := getattr(query, column)) is not None:
            where.append(f"{column} = ?")
            params.append(value)
    last = query.after
    found: list[Approval] = []
    while len(found) <= query.limit:
        more, at = list(where), list(params)
        if last is not None:
            row = await approvals.get(services.database, last)
            if row is None:
                raise bad_request(f"there is no approval `{last}`", param="after")
            more.append("(created_us < ? OR (created_us = ? AND id < ?))")
            at += [row.created_us, row.created_us, row.id]
        rows = await approvals.find(services.database, " AND ".join(more), at, BATCH)
        found += [row for row in rows if await services.decisions.may_see(actor, row)]
        if len(rows) < BATCH:
            break
        last = rows[-1].id
    page = found[: query.limit]
    return ApprovalsView(
        approvals=[ApprovalView(**_told(row)) for row in page], has_more=len(found) > len(page)
    )


async def get(services: Services, call: Call[Nothing, Nothing]) -> ApprovalDetail:
    """One, with what is decided on."""
    return await _detail(services, call, await services.decisions.seen(call.caller, call.path["id"]))


async def decide(services: Services, call: Call[Decide, Nothing]) -> ApprovalDetail:
    """Says yes, no, or yes to something else."""
    body = call.body
    if body.patch is not None and body.decision != "edit":
        raise bad_request(f"`{body.decision}` takes no patch", param="patch")
    decision = Decision(kind=body.decision, comment=body.comment, patch=body.patch)
    return await _detail(
        services, call, await services.decisions.decide(call.caller, call.path["id"], decision)
    )


async def cancel(services: Services, call: Call[End, Nothing]) -> ApprovalDetail:
    """Withdraws it before it is executed."""
    record = await services.decisions.end(call.caller, call.path["id"], "cancel", call.body.comment)
    return await _detail(services, call, record)


async def expire(services: Services, call: Call[End, Nothing]) -> ApprovalDetail:
    """Ends the time to decide: its default holds."""
    record = await services.decisions.end(call.caller, call.path["id"], "expire", call.body.comment)
    return await _detail(services, call, record)


def _told(record: Approval) -> dict[str, Any]:
    terms = record.told_terms()
    columns = msgspec.structs.asdict(record)
    return {
        **{name: columns[name] for name in ApprovalView.__struct_fields__ if name in columns},
        "etag": etag(record),
        "organization_id": record.org_id,
        "request_id": record.trace_id,
        "quorum": terms.quorum,
        "default": terms.default,
        "reviewer_roles": list(terms.roles),
        "reviewer_users": list(terms.users),
        "answer_request_id": record.answer_trace_id,
    }


async def _detail(services: Services, call: Call[Any, Any], record: Approval) -> ApprovalDetail:
    decisions = services.decisions
    dossier = decisions.dossier(record)
    votes = await approvals.votes(services.database, record.id)
    now, before = decisions.subject(record, dossier), plain(dossier.subject)
    changed = difference(before, now) if record.edited is not None else []
    is_answer = dossier.answer is not None
    return ApprovalDetail(
        **_told(record),
        request=plain(dossier.body) if is_answer else now,
        answer=now if is_answer else None,
        tool_calls=plain(dossier.calls.encode()),
        diff=changed,
        approvals=sum(vote.revision == record.revision and vote.decision == "approve" for vote in votes),
        votes=votes,
        may_decide=record.status == "pending" and await decisions.may_decide(call.caller.acting, record),
    )
