"""Batches: made, looked at, cancelled. Their work is done by the follower."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from ailink.admin.call import Caller
from ailink.admin.errors import ApiError, bad_request, conflict, not_found
from ailink.batches.files import FileService, Owner, owner_of
from ailink.batches.lines import ENDPOINTS, Asked, Input, parse, refused
from ailink.batches.plane import BatchPlane, Found, Held, Requests, ask, pieces
from ailink.batches.provider import Line
from ailink.batches.vault import Damaged, new_id
from ailink.config.batch_sites import BatchSite
from ailink.ledger.reader import LedgerSource
from ailink.store import batches, keys, leaders
from ailink.store.batches import ENDED, Batch, Counts, Document, packed
from ailink.store.change_log import PROCESS
from ailink.store.files import File

HOUR_US = 3_600 * 1_000_000
WRITTEN_AT_ONCE = 500
# For its part of a limit that nodes share a batch waits as long as a request does.
PATIENCE = 200
AGAIN_S = 0.02
MASTER = "master"


class Sites(Protocol):
    def batch_site(self, deployment: str) -> BatchSite | None:
        """Where a deployment's batches go."""


class BatchService:
    """One per process. `master`: the digest of the master key; `ledger`: with the number of its node."""

    def __init__(
        self,
        files: FileService,
        plane: BatchPlane,
        sites: Sites,
        master: bytes | None,
        ledger: tuple[LedgerSource, int],
    ) -> None:
        self.files = files
        self.plane = plane
        self.sites = sites
        self.ledger, self.node = ledger
        self.wake: Callable[[], None] = lambda: None
        self._master = master
        self._database = files.database

    async def digest_of(self, key_id: str) -> bytes:
        """Of a key that is gone: one that nobody has."""
        if key_id == MASTER:
            return self._master or bytes(32)
        record = await keys.by_id(self._database, key_id)
        return bytes(32) if record is None else bytes.fromhex(record.digest)

    async def create(
        self, caller: Caller, input_file: str, endpoint: str, window: str, metadata: Mapping[str, str] | None
    ) -> Batch:
        """Raises `ApiError`."""
        operation = ENDPOINTS.get(endpoint)
        if operation is None:
            text = f"`endpoint` must be one of {', '.join(ENDPOINTS)}"
            raise bad_request(text, param="endpoint", code="invalid_parameter")
        if window != "24h":
            raise bad_request("`completion_window` must be `24h`", param="completion_window")
        owner = await owner_of(self._database, caller)
        most = self.files.rules().max_open
        if await batches.count_open(self._database, owner.name) >= most:
            text = f"{most} batches are under way already; wait until one has ended."
            raise ApiError(429, text, type="rate_limit_error", code="too_many_batches")
        found, read = await self._input(caller, input_file, endpoint)
        site, model = await self._site(caller, read.model, operation)
        # Written once to see that it can be; again when it goes out.
        await self.written(site.deployment, operation, read.lines)
        batch_id = new_id("batch_")
        await self.hold(batch_id, caller.key_id, (model, operation, site.deployment), read.lines)
        now = self.files.now_us()
        document = Document(
            endpoint=endpoint,
            operation=operation,
            window=window,
            model=model,
            asked=read.model,
            deployment=site.deployment,
            input_file=found.id,
            metadata=dict(metadata) if metadata else None,
            request_id=_request_id(),
            counts=Counts(total=len(read.lines)),
            ends_us=now + 24 * HOUR_US,
        )
        until = await leaders.time_us(self._database, self._database) + self.lease_us
        record = self._record(batch_id, owner, caller, document, (now, until))
        try:
            await batches.insert(self._database, record)
        except BaseException:
            self.plane.batch_release(batch_id)
            raise
        self.wake()
        return record

    @property
    def lease_us(self) -> int:
        return int(self.files.rules().lease) * 1_000

    def _record(
        self, batch_id: str, owner: Owner, caller: Caller, document: Document, times: tuple[int, int]
    ) -> Batch:
        """`times`: now, and when it may be taken over."""
        now, until = times
        return Batch(
            id=batch_id,
            org_id=owner.org_id,
            trace_id=caller.request_id,
            owner=owner.name,
            key_id=caller.key_id,
            status="validating",
            claimed_by=PROCESS,
            claim_until_us=until,
            node=self.node,
            document=packed(document),
            created_us=now,
            updated_us=now,
        )

    async def _input(self, caller: Caller, file_id: str, endpoint: str) -> tuple[File, Input]:
        record = await self.files.get(caller, file_id, "input_file_id")
        if record.purpose != "batch":
            raise refused("it must have the purpose `batch`", code="invalid_file")
        try:
            content = await self.files.vault.read(record)
        except Damaged as error:
            raise conflict(f"the file cannot be read: {error}", "file_damaged", "input_file_id") from error
        return record, await asyncio.to_thread(parse, content, endpoint)

    async def _site(self, caller: Caller, model: str, operation: str) -> tuple[BatchSite, str]:
        """Where it goes, and the model's own name. Raises `ApiError`."""
        digest = await self.digest_of(caller.key_id)
        asked = {"digest": digest, "model": model, "operation": operation}
        found = await ask(self.plane.batch_check, asked, Found)
        if found.error is not None:
            raise found.error.error()
        sites = [self.sites.batch_site(deployment) for deployment in found.deployments]
        site = next((site for site in sites if site is not None), None)
        if site is None:
            text = (
                f"No provider of model '{found.model}' takes batches. Send the requests one by one, or ask "
                "for a model at OpenAI, Azure, Anthropic, Vertex AI or Bedrock."
            )
            raise ApiError(400, text, type="invalid_request_error", code="feature_unsupported", param="model")
        return site, found.model

    async def written(
        self, deployment: str, operation: str, lines: Sequence[Asked]
    ) -> tuple[str, list[Line]]:
        """Requests as the deployment takes them, and what it is asked. Raises `ApiError`."""
        rows: list[Line] = []
        by = operation
        for first, group in pieces(lines, WRITTEN_AT_ONCE):
            asked = {
                "deployment": deployment,
                "operation": operation,
                "bodies": [line.body for line in group],
            }
            done = await ask(self.plane.batch_requests, asked, Requests)
            if done.error is not None:
                raise done.error.error()
            by = done.operation or operation
            for number, line in enumerate(done.lines, first):
                if line.error is not None or line.body is None:
                    why = line.error.message if line.error else "it cannot be written"
                    raise refused(why, number + 1, line.error.code if line.error else "invalid_request")
                rows.append(Line(name=line_name(number), body=line.body))
        return by, rows

    async def hold(
        self, batch_id: str, key_id: str, place: tuple[str, str, str], rows: Sequence[Asked]
    ) -> None:
        """`place`: model, operation, deployment. Raises `ApiError` when a budget has no room."""
        model, operation, deployment = place
        setting = {
            "id": batch_id,
            "digest": await self.digest_of(key_id),
            "model": model,
            "operation": operation,
            "deployment": deployment,
            "requests": len(rows),
            "bytes": sum(len(row.body) for row in rows),
            "output": sum(row.output for row in rows if row.output is not None),
            "open": sum(row.output is None for row in rows),
        }
        for _ in range(PATIENCE):
            held = await ask(self.plane.batch_hold, setting, Held)
            if not held.short:
                break
            # It has been asked for by now.
            await asyncio.sleep(AGAIN_S)
        if held.error is not None:
            raise held.error.error()

    async def get(self, caller: Caller, batch_id: str, param: str = "batch_id") -> Batch:
        """Raises `ApiError` (404), the same for another's and for none."""
        owner = await owner_of(self._database, caller)
        record = await batches.get(self._database, batch_id, owner.name)
        if record is None:
            raise not_found("there is no such batch", param=param, code="batch_not_found")
        return record

    async def page(self, caller: Caller, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        owner = await owner_of(self._database, caller)
        last = None if after is None else await self.get(caller, after, "after")
        found = await batches.page(self._database, owner.name, last, limit + 1)
        return found[:limit], len(found) > limit

    async def cancel(self, caller: Caller, batch_id: str) -> Batch:
        """Raises `ApiError` (404, 409). The provider is told behind it."""
        for _ in range(10):
            record = await self.get(caller, batch_id)
            if record.status == "cancelling":
                return record
            if record.status in ENDED or record.status == "finalizing":
                raise conflict(
                    f"the batch is {record.status}: it cannot be cancelled", "batch_ended", "batch_id"
                )
            now, document = self.files.now_us(), record.told()
            times = {**document.times, "cancelling": now}
            changed = await batches.update(
                self._database,
                record,
                msgspec.structs.replace(document, cancelled=True, times=times),
                status="cancelling",
                updated_us=now,
            )
            if changed is not None:
                self.wake()
                return changed
        raise conflict("the batch is changing; ask again", "batch_busy", "batch_id")


def line_name(number: int) -> str:
    """What a line is called at the provider: Bedrock wants eleven characters and more."""
    return f"line-{number:08d}"


def _request_id() -> str:
    """As the data plane makes them: the time in milliseconds, then chance. The last eight digits are for the
    numbers of its lines.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}{0:08x}"


def line_request_id(request_id: str, number: int) -> str:
    """The id that the line of this number, from 0, has in the ledger."""
    return f"{request_id[:-8]}{number + 1:08x}"
