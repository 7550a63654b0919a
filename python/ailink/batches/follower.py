"""Follows batches: hands them over, looks how far they are, brings their answers home and settles them.

Every process follows the batches that were made in it; when it is gone, another takes them over, whatever it
was at. A claim is renewed while work is done; who lost it finds the row of the batch changed and lets go. A
batch is settled once: a line's request id is made of its number, so that whoever settles it sees which lines
have their rows, and of two rows of one line from two nodes the database takes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from ailink.admin.errors import ApiError
from ailink.background import end, goes_on
from ailink.batches.anthropic_shape import AnthropicShape
from ailink.batches.cloud_shapes import BedrockShape, VertexShape
from ailink.batches.finish import Finish
from ailink.batches.lines import Asked, parse
from ailink.batches.openai_shape import OpenAiShape
from ailink.batches.provider import ProviderFault, Shape, Submission, Wire
from ailink.batches.service import BatchService
from ailink.batches.vault import Damaged
from ailink.store import batches, files
from ailink.store.batches import Batch, Document, Fault
from ailink.store.change_log import PROCESS
from ailink.store.database import DatabaseError, Value
from ailink.store.leaders import DeposedError

log = logging.getLogger(__name__)

SHAPES: Mapping[str, Any] = {
    "openai": OpenAiShape,
    "anthropic": AnthropicShape,
    "vertex": VertexShape,
    "bedrock": BedrockShape,
}
IDLE_S = 15.0
RENEWALS = 4
"""How often a claim is renewed while it lasts."""
SLOWEST = 20
"""A provider that fails is asked at most so many times more seldom."""
ANSWERS = 4
"""How many times longer than the longest file answers may be."""
LATE_US = 2 * 3_600 * 1_000_000


class Follower:
    """One per process."""

    def __init__(self, service: BatchService) -> None:
        self._service = service
        self._database = service.files.database
        self._finish = Finish(service)
        self._wakes = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._held: set[str] = set()
        self._due: dict[str, float] = {}
        self._failed: dict[str, int] = {}

    def start(self) -> None:
        self._service.wake = self._wakes.set
        self._tasks = [asyncio.create_task(task) for task in (self._run(), self._renew())]

    async def stop(self) -> None:
        if self._tasks:
            await end(self._tasks)
            with contextlib.suppress(DatabaseError):
                await batches.let_go(self._database, PROCESS)

    @property
    def _poll_s(self) -> float:
        return int(self._service.files.rules().poll) / 1_000

    async def _run(self) -> None:
        while goes_on():
            try:
                following = await self.once()
            # Nothing may end this task: batches would never be fetched.
            except Exception as error:
                log.error("batches cannot be followed just now: %s", error, exc_info=error)
                following = True
            wait = min(self._poll_s, IDLE_S) if following else min(IDLE_S, self._lease_s)
            try:
                await asyncio.wait_for(self._wakes.wait(), wait)
                self._due.clear()
            except TimeoutError:
                pass
            self._wakes.clear()

    @property
    def _lease_s(self) -> float:
        return self._service.lease_us / 1_000_000

    async def _renew(self) -> None:
        """Beside the work: what one batch takes may be longer than a claim lasts."""
        while goes_on():
            await asyncio.sleep(self._lease_s / RENEWALS)
            # Who cannot be heard for so long loses its batches, and finds that out.
            with contextlib.suppress(DatabaseError):
                await batches.renew(self._database, PROCESS, self._service.lease_us)

    async def once(self) -> bool:
        """Does all that is due; whether there is anything to follow."""
        now = self._service.files.now_us()
        found = await batches.claim(self._database, PROCESS, self._service.lease_us)
        for file_id in await files.expired(self._database, now):
            await files.remove(self._database, file_id)
        await batches.forget(self._database, now - int(self._service.files.rules().keep) * 1_000)
        loop = asyncio.get_running_loop()
        for record in found:
            if self._due.get(record.id, 0.0) > loop.time():
                continue
            await self._followed(record)
            later = self._poll_s * min(2 ** self._failed.get(record.id, 0), SLOWEST)
            self._due[record.id] = loop.time() + later * 0.9
        return bool(found)

    async def _followed(self, record: Batch) -> None:
        try:
            await self._tried(record)
        except DeposedError as error:
            log.warning("batch %s: %s", record.id, error)
            self._held.discard(record.id)
            await self._finish.leave(record)

    async def _tried(self, record: Batch) -> None:
        """Raises `DeposedError`."""
        try:
            await self._hold(record)
            await self._step(record)
            self._failed.pop(record.id, None)
        except ProviderFault as fault:
            self._failed[record.id] = self._failed.get(record.id, 0) + 1
            log.warning("batch %s: %s", record.id, fault)
            if not fault.passing or self._is_late(record):
                await self._fail(record, Fault(code=fault.code, message=str(fault)))
        except (ApiError, Damaged) as error:
            code = error.envelope.error.code if isinstance(error, ApiError) else "file_damaged"
            await self._fail(record, Fault(code=code or "invalid_request", message=str(error)))

    def _is_late(self, record: Batch) -> bool:
        return self._service.files.now_us() > record.told().ends_us + LATE_US

    async def _hold(self, record: Batch) -> None:
        """Sets aside what a batch that another process made may cost, as far as there is room."""
        if record.id in self._held:
            return
        self._held.add(record.id)
        if record.version > 1 or record.claimed_by != PROCESS:
            document = record.told()
            place = (document.model, document.operation, document.deployment)
            try:
                await self._service.hold(record.id, record.key_id, place, await self._lines(record, document))
            except ApiError as error:
                log.warning("batch %s goes on without a reservation: %s", record.id, error)

    async def _lines(self, record: Batch, document: Document) -> list[Asked]:
        kept = await files.get(self._database, document.input_file, record.owner, 0)
        if kept is None:
            raise Damaged("the input file is gone")
        content = await self._service.files.vault.read(kept)
        return list((await asyncio.to_thread(parse, content, document.endpoint)).lines)

    def _shape(self, document: Document) -> Shape:
        """Raises `ProviderFault`."""
        site = self._service.sites.batch_site(document.deployment)
        if site is None:
            text = (
                f"The deployment '{document.deployment}' of the batch is not in the configuration any more."
            )
            raise ProviderFault("deployment_gone", text, passing=False)
        most = ANSWERS * int(self._service.files.rules().max_file)
        shape: Shape = SHAPES[site.shape](Wire(self._service.plane, site, most))
        return shape

    async def _step(self, record: Batch) -> None:
        document = record.told()
        if "job" not in document.remote:
            await self._submit(record, document)
        elif record.status == "finalizing":
            await self._finalize(record, document)
        else:
            await self._look(record, document)

    async def _submit(self, record: Batch, document: Document) -> None:
        if document.cancelled:
            await self._finish.end(record, document, "cancelled")
            return
        if document.remote.get("sender", PROCESS) != PROCESS:
            text = "The gateway stopped while the batch was handed over: the provider may have it, or not."
            raise ProviderFault("submission_unknown", text, passing=False)
        shape, lines = self._shape(document), await self._lines(record, document)
        by, written = await self._service.written(document.deployment, document.operation, lines)
        sending = msgspec.structs.replace(document, remote={"sender": PROCESS})
        sent = await self._update(record, sending)
        if sent is None:
            return
        submission = Submission(
            batch=record.id, operation=by, endpoint=document.endpoint, window=document.window, lines=written
        )
        try:
            remote = await shape.submit(submission)
        except ProviderFault as fault:
            if fault.passing and fault.code != "upstream_unreachable":
                # It was refused: nobody has it.
                await self._update(sent, msgspec.structs.replace(document, remote={}))
                raise
            raise ProviderFault(fault.code, str(fault), passing=False) from fault
        now = self._service.files.now_us()
        times = {**document.times, "in_progress": now}
        while True:
            # Somebody may have cancelled it meanwhile.
            latest = await batches.get(self._database, record.id)
            if latest is None or latest.ended_us is not None:
                # Another process could not know of it, and has given it up.
                await shape.cancel(remote)
                raise DeposedError("it was ended by another process while it was handed over")
            told = msgspec.structs.replace(latest.told(), remote=remote, times=times)
            status = "cancelling" if told.cancelled else "in_progress"
            if await self._update(latest, told, status=status) is not None:
                break
        self._wakes.set()

    async def _look(self, record: Batch, document: Document) -> None:
        shape = self._shape(document)
        if document.cancelled and "told" not in document.times:
            await shape.cancel(document.remote)
            times = {**document.times, "told": self._service.files.now_us()}
            document = msgspec.structs.replace(document, times=times)
            changed = await self._update(record, document)
            if changed is None:
                return
            record = changed
        standing = await shape.look(document.remote)
        if standing.state == "failed":
            text = standing.message or "The provider could not work on the batch."
            await self._fail(record, Fault(code=standing.code or "batch_failed", message=text))
            return
        counts = msgspec.structs.replace(
            document.counts, completed=standing.completed, failed=standing.failed
        )
        remote = standing.remote or document.remote
        if standing.state == "running":
            if counts != document.counts or remote != document.remote:
                await self._update(record, msgspec.structs.replace(document, counts=counts, remote=remote))
            return
        times = {**document.times, "finalizing": self._service.files.now_us()}
        document = msgspec.structs.replace(document, counts=counts, remote=remote, times=times)
        columns: dict[str, Value] = {"status": "finalizing", "node": self._service.node}
        changed = await self._update(record, document, **columns)
        if changed is not None:
            await self._finalize(changed, document, again=False)

    async def _finalize(self, record: Batch, document: Document, *, again: bool = True) -> None:
        shape = self._shape(document)
        results = await shape.results(document.remote)
        lines = await self._lines(record, document)
        await self._finish.settle(record, document, (lines, results), again=again)
        self._held.discard(record.id)
        try:
            await shape.clean(document.remote)
        except ProviderFault as fault:
            log.warning("batch %s: what its provider keeps of it stays there: %s", record.id, fault)

    async def _fail(self, record: Batch, fault: Fault) -> None:
        latest = await batches.get(self._database, record.id)
        if latest is not None and latest.claimed_by != record.claimed_by:
            raise DeposedError("another process follows it now")
        if latest is not None and latest.ended_us is None:
            document = msgspec.structs.replace(latest.told(), faults=[fault])
            await self._finish.end(latest, document, "failed")
        self._held.discard(record.id)

    async def _update(self, record: Batch, document: Document, **columns: Value) -> Batch | None:
        now = self._service.files.now_us()
        return await batches.update(self._database, record, document, updated_us=now, **columns)
