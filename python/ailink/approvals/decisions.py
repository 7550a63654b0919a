"""What reviewers do: look, approve, reject, edit; and what ends an approval before its time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ailink.admin.call import Caller
from ailink.admin.errors import ApiError, bad_request, conflict, forbidden, not_found
from ailink.approvals.desk import Desk
from ailink.approvals.patch import PatchError, applied
from ailink.approvals.shapes import Dossier
from ailink.identity.actor import Actor
from ailink.store import approvals
from ailink.store.approvals import Approval, Vote
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match
from ailink.store.tenancy import memberships, users

# What the request was checked for before it had to wait.
FIXED = ("model", "stream")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: approve, reject or edit; `patch`: RFC 6902, on what is decided on."""

    kind: str
    comment: str | None = None
    patch: Sequence[Mapping[str, Any]] | None = None
    via: str = "api"


class Decisions:
    """One per process."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def seen(self, caller: Caller, approval_id: str, queries: Queries | None = None) -> Approval:
        """Raises `ApiError` (404) for what is not there and for what is not the caller's to see alike."""
        record = await approvals.get(queries or self._desk.database, approval_id)
        if record is None or not await self.may_see(caller.acting, record):
            raise not_found("There is no such approval.", code="approval_not_found")
        return record

    async def may_see(self, actor: Actor, record: Approval) -> bool:
        """Its requester, its reviewers, and who may read approvals there."""
        reaches = actor.may("approvals.read", org=record.org_id, team=record.team_id, user=record.user_id)
        return reaches or actor.key_id == record.key_id or await self.may_decide(actor, record)

    async def may_decide(self, actor: Actor, record: Approval) -> bool:
        """Whether he is one of its reviewers."""
        terms = record.told_terms()
        if not terms.roles and not terms.users:
            return actor.may("approvals.write", org=record.org_id, team=record.team_id)
        if actor.user_id is not None and actor.user_id in terms.users:
            return True
        return bool(terms.roles) and not set(terms.roles).isdisjoint(await self._roles(actor, record))

    async def _roles(self, actor: Actor, record: Approval) -> set[str]:
        """The roles he holds over the gateway, in the organization and in the team of the request."""
        if actor.user_id is None:
            return {"owner", "admin"} if actor.is_admin else set()
        database = self._desk.database
        user = await users.get(database, EVERYWHERE, actor.user_id)
        joined = await memberships.find(database, EVERYWHERE, Match(equal={"user_id": actor.user_id}))
        here = {("organization", record.org_id), ("team", record.team_id)}
        held = {one.role for one in joined if (one.kind, one.holder_id) in here}
        return held if user is None else held | {user.role}

    async def decide(self, caller: Caller, approval_id: str, decision: Decision) -> Approval:
        """Raises `ApiError`: 403 for who may not, 409 when it is late, 400 for an edit that does not fit."""
        async with self._desk.database.transaction() as queries:
            record = await self.seen(caller, approval_id, queries)
            late = self._desk.now_us() >= record.expires_us and record.status == "pending"
            record = await self._desk.due(queries, record)
            if not late:
                await self._check(caller, record)
                record = await self._decided(queries, caller, record, decision)
        self._desk.ring([record.id])
        if late:
            raise conflict(f"it has expired: it is {record.status}", "approval_closed")
        return record

    async def _check(self, caller: Caller, record: Approval) -> None:
        actor = caller.acting
        if not await self.may_decide(actor, record):
            raise forbidden("You are not one of the reviewers of this request.", code="not_a_reviewer")
        own = actor.user_id is not None and actor.user_id == record.user_id
        if own or caller.key_id == record.key_id:
            raise forbidden("Nobody may decide on his own request.", code="own_request")
        if record.status != "pending":
            raise conflict(f"it was decided already: it is {record.status}", "approval_closed")
        match(caller, record)

    async def _decided(
        self, queries: Queries, caller: Caller, record: Approval, decision: Decision
    ) -> Approval:
        now = self._desk.now_us()
        columns: dict[str, Any] = {"updated_us": now}
        if decision.kind == "edit":
            columns["edited"] = self._edited(record, decision.patch or ())
            columns["revision"] = record.revision + 1
        revision = columns.get("revision", record.revision)
        reviewer = caller.acting.user_id or caller.key_id
        vote = Vote(
            approval_id=record.id,
            revision=revision,
            reviewer=reviewer,
            org_id=record.org_id,
            trace_id=caller.request_id,
            decision="reject" if decision.kind == "reject" else "approve",
            comment=decision.comment,
            via=decision.via,
            at_us=now,
        )
        await approvals.vote(queries, vote)
        for_it = {
            one.reviewer
            for one in await approvals.votes(queries, record.id)
            if one.revision == revision and one.decision == "approve"
        }
        terms = record.told_terms()
        if decision.kind == "reject":
            columns |= {"status": "rejected", "message": decision.comment}
        elif len(for_it) >= terms.quorum:
            columns |= {"status": "approved", "message": None, "use_until_us": now + terms.expiry_us}
        record = await approvals.update(queries, record, **columns)
        detail = {
            "revision": revision,
            "status": record.status,
            "via": decision.via,
            "comment": decision.comment,
        }
        await self._desk.audit(queries, record, decision.kind, reviewer, detail)
        self._desk.count({"approve": "approved", "reject": "rejected", "edit": "edited"}[decision.kind])
        return record

    def _edited(self, record: Approval, patch: Sequence[Mapping[str, Any]]) -> str:
        if not patch:
            raise bad_request("an edit has a `patch` that changes something", param="patch")
        dossier = self.dossier(record)
        if dossier.is_stream:
            raise conflict("the answer is a stream: approve or reject it", "not_editable")
        before = self.subject(record, dossier)
        if not isinstance(before, dict):
            raise conflict("only JSON can be edited: approve or reject it", "not_editable")
        try:
            after = applied(before, patch)
        except PatchError as error:
            raise bad_request(str(error), param="patch") from error
        if not isinstance(after, dict):
            raise bad_request("the result is no JSON object", param="patch")
        fixed = FIXED if dossier.answer is None else ()
        for name in fixed:
            if before.get(name) != after.get(name):
                raise bad_request(f"`{name}` cannot be edited: reject the request instead", param="patch")
        text = json.dumps(after, ensure_ascii=False, separators=(",", ":"))
        return self._desk.sealed(record.id, "edited", text.encode())

    async def end(self, caller: Caller, approval_id: str, kind: str, comment: str | None) -> Approval:
        """`cancel`, by its requester or a reviewer; `expire`, by a reviewer: as if the time had come."""
        async with self._desk.database.transaction() as queries:
            record = await self._desk.due(queries, await self.seen(caller, approval_id, queries))
            own = kind == "cancel" and caller.key_id == record.key_id
            if not own and not await self.may_decide(caller.acting, record):
                raise forbidden("You are not one of the reviewers of this request.", code="not_a_reviewer")
            may_end = ("pending", "approved") if kind == "cancel" else ("pending",)
            if record.status not in may_end:
                raise conflict(f"it is {record.status} already", "approval_closed")
            match(caller, record)
            now = self._desk.now_us()
            if kind == "cancel":
                record = await approvals.update(
                    queries, record, status="cancelled", message=comment, updated_us=now
                )
                await self._desk.audit(queries, record, "cancel", caller.key_id, {"comment": comment})
                self._desk.count("cancelled")
            else:
                by = {"by": caller.key_id, "comment": comment}
                await self._desk.audit(queries, record, "expire", caller.key_id, by)
                record = await approvals.update(queries, record, expires_us=now, updated_us=now)
                record = await self._desk.due(queries, record)
        self._desk.ring([record.id])
        return record

    def dossier(self, record: Approval) -> Dossier:
        return msgspec.msgpack.decode(self._desk.opened(record, "sealed") or b"", type=Dossier)

    def subject(self, record: Approval, dossier: Dossier) -> Any:
        """What is decided on as it stands: edited, if it was."""
        edited = self._desk.opened(record, "edited")
        return plain(dossier.subject if edited is None else edited)


def plain(body: bytes) -> Any:
    """JSON, or text."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def match(caller: Caller, record: Approval) -> None:
    """Compares If-Match. Raises `ApiError` (412)."""
    if caller.if_match not in (None, "*", etag(record)):
        raise ApiError(
            412,
            "The approval was changed since you read it: read it again.",
            type="invalid_request_error",
            code="precondition_failed",
            param="If-Match",
        )


def etag(record: Approval) -> str:
    return f'"{record.version}"'
