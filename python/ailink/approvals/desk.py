"""Where the data plane brings requests that have to be approved, claims them and says what came of them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from ailink.admin.errors import ApiError, forbidden, not_found
from ailink.approvals.shapes import Answered, Claim, Done, Entry, Standing, Which
from ailink.background import end, goes_on
from ailink.config.approvals import Approvals
from ailink.secrets.envelope import Place
from ailink.secrets.keyring import Keyring
from ailink.store import approvals, audit, keys
from ailink.store.approvals import OPEN, Approval, Terms
from ailink.store.change_log import PROCESS
from ailink.store.database import Database, Queries

log = logging.getLogger(__name__)

TICK_S = 0.5
# A node that has not said for so long that it is alive is gone, and what it executed unknown.
LEASE_US = 20_000_000
RENEW_S = 5.0
# How long the answer to a named request is there for its repeats, and everything for who looks back.
ANSWERS_US = 24 * 3_600 * 1_000_000
KEPT_US = 30 * 24 * 3_600 * 1_000_000
MASTER = "master"
# A repeat that has no name of its own finds these again.
LASTING = (*OPEN, "executed", "failed", "rejected", "expired", "unknown")


class Bells(Protocol):
    def approvals_changed(self, ids: list[str]) -> None:
        """Whoever waits for these looks at them."""


class Tell(Protocol):
    def __call__(self, kind: str, record: Approval, channels: Sequence[str] | None, *, buttons: bool) -> None:
        """Tells people; returns at once."""


class Desk:
    """One per process. `rules`: what the file says."""

    def __init__(
        self, database: Database, keyring: Keyring, bells: Bells, now_us: Callable[[], int], tell: Tell
    ) -> None:
        self.database = database
        self.keyring = keyring
        self.now_us = now_us
        self.rules = Approvals()
        self.count: Callable[[str], None] = lambda _: None
        self._bells = bells
        self._tell = tell
        self._task: asyncio.Task[None] | None = None
        # Whether anything may be open: a gateway without approvals does not ask its database for them.
        self._busy = True
        self._seen_us = now_us()
        self._renewed = self._swept = 0.0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            await end([self._task])

    # ── asked by the data plane ──────────────────────────────────────────────────────────────────────────

    async def enter(self, entry: Entry) -> Standing:
        """A new one, or that of which this is a repeat. Raises `ApiError`."""
        self._busy = True
        async with self.database.transaction() as queries:
            known = await approvals.find(queries, "joins = ?", (entry.joins,), 1)
            if known:
                found = await self.due(queries, known[0])
                if self._joins(found):
                    if found.asked != entry.asked:
                        raise ApiError(
                            422,
                            "This Idempotency-Key was used for another request.",
                            type="invalid_request_error",
                            code="idempotency_mismatch",
                        )
                    return self.standing(found)
            waiting = await approvals.count(queries, "key_id = ? AND status = 'pending'", (entry.key_id,))
            if waiting >= self.rules.max_pending:
                raise ApiError(
                    429,
                    f"{waiting} requests of this key wait for approval already.",
                    type="rate_limit_error",
                    code="too_many_approvals",
                )
            record = self._made(entry)
            await approvals.insert(queries, record)
            await self.audit(queries, record, "request", entry.key_id, {"policy": record.policy})
        self.count("requested")
        self._tell("approval_requested", record, entry.channels, buttons=self.rules.slack is not None)
        return self.standing(record)

    async def look(self, which: Which) -> Standing:
        """Raises `ApiError` (404); a token is worth something with the key it was given to alone."""
        approval_id = which.id or self.id_of(which.token or "")
        record = None if approval_id is None else await approvals.get(self.database, approval_id)
        if record is None or (which.id is None and record.key_id != which.key_id):
            raise not_found("There is no such approval.", code="approval_not_found")
        if self._is_due(record):
            async with self.database.transaction() as queries:
                record = await self.due(queries, await self.row(queries, record.id))
            self.ring([record.id])
        return self.standing(record)

    async def claim(self, claim: Claim) -> Standing:
        """With a `fence` for the one who may go on. Raises `ApiError`."""
        async with self.database.transaction() as queries:
            record = await self.due(queries, await self.row(queries, claim.id))
            if record.status != "approved":
                return self.standing(record)
            await self._check_key(queries, record)
            now = self.now_us()
            record = await approvals.update(
                queries,
                record,
                status="executing",
                fence=record.fence + 1,
                claimed_by=PROCESS,
                claim_until_us=now + LEASE_US,
                updated_us=now,
            )
        self.ring([record.id])
        standing = self.standing(record)
        return msgspec.structs.replace(
            standing,
            fence=record.fence,
            dossier=self.opened(record, "sealed"),
            edited=self.opened(record, "edited"),
        )

    async def done(self, done: Done) -> bool:
        """Whether it was his to say."""
        async with self.database.transaction() as queries:
            record = await self.row(queries, done.id)
            if record.status != "executing" or record.fence != done.fence:
                return False
            columns: dict[str, Any] = {
                "claimed_by": None,
                "claim_until_us": None,
                "updated_us": self.now_us(),
            }
            if done.outcome == "returned":
                record = await approvals.update(queries, record, status="approved", **columns)
            else:
                traces = [value for name, value in done.answer.headers if name == "x-ailink-request-id"]
                record = await approvals.update(
                    queries,
                    record,
                    status=done.outcome,
                    answer=self.sealed(record.id, "answer", msgspec.msgpack.encode(done.answer)),
                    answer_status=done.answer.status,
                    answer_trace_id=traces[0] if traces else None,
                    **columns,
                )
                detail = {"status": done.answer.status, "request_id": record.answer_trace_id}
                await self.audit(queries, record, done.outcome, record.key_id, detail)
        if done.outcome != "returned":
            self.count(done.outcome)
        self.ring([record.id])
        return True

    # ── shared ───────────────────────────────────────────────────────────────────────────────────────────

    async def row(self, queries: Queries, approval_id: str) -> Approval:
        """Raises `ApiError` (404)."""
        record = await approvals.get(queries, approval_id)
        if record is None:
            raise not_found("There is no such approval.", code="approval_not_found")
        return record

    async def due(self, queries: Queries, record: Approval) -> Approval:
        """What time has made of it."""
        if not self._is_due(record):
            return record
        now = self.now_us()
        if record.status == "executing":
            after, told = {"status": "unknown"}, "unknown"
        elif record.status == "approved":
            after, told = {"status": "lapsed"}, "lapsed"
        elif record.told_terms().default == "approve":
            after, told = {"status": "approved"}, "approve"
        else:
            after, told = {"status": "expired"}, "expired"
        columns: dict[str, Any] = {**after, "updated_us": now}
        if told == "approve":
            columns["use_until_us"] = now + record.told_terms().expiry_us
        record = await approvals.update(queries, record, **columns)
        await self.audit(queries, record, told, "expiry", {"default": record.told_terms().default})
        self.count({"approve": "approved"}.get(told, told))
        return record

    def ring(self, ids: Iterable[str]) -> None:
        self._bells.approvals_changed(list(ids))

    def standing(self, record: Approval) -> Standing:
        answer = None
        if record.status in ("executed", "failed"):
            packed = self.opened(record, "answer")
            lost = Answered(status=record.answer_status or 0, headers=[], body=b"", whole=False)
            answer = lost if packed is None else msgspec.msgpack.decode(packed, type=Answered)
        return Standing(
            id=record.id,
            token=self.token_of(record.id),
            status=record.status,
            phase=record.phase,
            policy=record.policy,
            message=record.message,
            left_ms=max(record.expires_us - self.now_us(), 0) // 1_000,
            answer=answer,
        )

    def token_of(self, approval_id: str) -> str:
        proof = hmac.new(self.keyring.pepper, f"approval:{approval_id}".encode(), hashlib.sha256).hexdigest()
        return f"{approval_id}.{proof[:32]}"

    def id_of(self, token: str) -> str | None:
        approval_id = token.partition(".")[0]
        expected = self.token_of(approval_id).encode()
        return approval_id if hmac.compare_digest(expected, token.encode(errors="replace")) else None

    def sealed(self, approval_id: str, column: str, content: bytes) -> str:
        return self.keyring.seal(content, Place("", "approval", approval_id, column))

    def opened(self, record: Approval, column: str) -> bytes | None:
        sealed = getattr(record, column)
        return (
            None if sealed is None else self.keyring.unseal(sealed, Place("", "approval", record.id, column))
        )

    async def audit(
        self, queries: Queries, record: Approval, action: str, actor: str, detail: dict[str, Any]
    ) -> None:
        event = audit.AuditEvent(
            org_id=record.org_id,
            trace_id=record.trace_id,
            at_us=self.now_us(),
            actor=actor,
            action=f"approval.{action}",
            object_type="approval",
            object_id=record.id,
            detail=detail,
        )
        await audit.append(queries, event)

    # ── by itself ────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        failing = False
        while goes_on():
            await asyncio.sleep(TICK_S)
            try:
                await self.tick()
                failing = False
            # Nothing may end this task: what is due would wait for ever.
            except Exception as error:  # noqa: BLE001
                if not failing:
                    log.error("approvals cannot be looked after: %s", error)
                failing = True

    async def tick(self) -> None:
        """Ends what is due, tells who waits here what other nodes did, keeps the claims of this process."""
        clock = asyncio.get_running_loop().time()
        if clock - self._swept > 3_600:
            self._swept = clock
            await approvals.forget_answers(self.database, self.now_us() - ANSWERS_US)
            await approvals.forget(self.database, self.now_us() - KEPT_US)
        many = self.database.dialect == "postgresql"
        if not (self._busy or many):
            return
        if clock - self._renewed > RENEW_S:
            self._renewed = clock
            await approvals.renew(self.database, PROCESS, self.now_us() + LEASE_US)
        await self._end_due()
        if many:
            since, self._seen_us = self._seen_us, self.now_us()
            # Clocks differ a little, and a row is seen when it was committed.
            if ids := await approvals.changed(self.database, since - 2_000_000):
                self.ring(ids)
        else:
            self._busy = await approvals.count(self.database, _OPEN, OPEN) > 0

    async def _end_due(self) -> None:
        now = self.now_us()
        where = (
            "(status = 'pending' AND expires_us <= ?) OR (status = 'approved' AND use_until_us <= ?) "
            "OR (status = 'executing' AND claim_until_us <= ?)"
        )
        due = await approvals.find(self.database, where, (now, now, now), 100)
        if not due:
            return
        async with self.database.transaction() as queries:
            for record in due:
                await self.due(queries, await self.row(queries, record.id))
        self.ring(record.id for record in due)

    # ── ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_due(self, record: Approval) -> bool:
        now = self.now_us()
        until = {
            "pending": record.expires_us, "approved": record.use_until_us, "executing": record.claim_until_us
        }.get(record.status)  # fmt: skip
        return until is not None and until <= now

    def _joins(self, record: Approval) -> bool:
        """Whether a repeat gets this one instead of one of its own."""
        if record.named:
            return record.created_us > self.now_us() - ANSWERS_US or record.status in OPEN
        recent = record.created_us + record.told_terms().expiry_us > self.now_us()
        return record.status in OPEN or (recent and record.status in LASTING)

    def _made(self, entry: Entry) -> Approval:
        now, approval_id = self.now_us(), f"apr_{secrets.token_hex(12)}"
        terms = Terms(
            roles=entry.roles,
            users=entry.users,
            quorum=entry.quorum,
            default=entry.default,
            expiry_us=entry.expiry_ms * 1_000,
        )
        return Approval(
            id=approval_id,
            org_id=entry.org,
            trace_id=entry.request_id,
            team_id=entry.team,
            user_id=entry.user,
            key_id=entry.key_id,
            policy=entry.policy,
            policy_version=entry.version,
            phase=entry.phase,
            mode=entry.mode,
            model=entry.model,
            joins=entry.joins,
            asked=entry.asked,
            named=int(entry.named),
            terms=msgspec.json.encode(terms).decode(),
            status="pending",
            message=entry.message or None,
            sealed=self.sealed(approval_id, "sealed", entry.dossier),
            created_us=now,
            expires_us=now + terms.expiry_us,
            updated_us=now,
        )

    async def _check_key(self, queries: Queries, record: Approval) -> None:
        """Whoever asked must still be allowed to."""
        if record.key_id == MASTER:
            return
        found = await keys.by_ids(queries, [record.key_id])
        now = self.now_us()
        if not found or found[0].blocked or (found[0].expires_us or now + 1) <= now:
            raise forbidden("The API key of this request is gone, blocked or expired.", code="blocked_key")


_OPEN = f"status IN ({', '.join('?' for _ in OPEN)})"
