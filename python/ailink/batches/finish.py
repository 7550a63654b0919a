"""The end of a batch: answers in the caller's format, rows in the ledger, files for the tenant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from ailink.admin.call import Caller
from ailink.batches.files import Owner
from ailink.batches.lines import Asked, answered, unanswered
from ailink.batches.plane import Settled, ask, pieces
from ailink.batches.provider import ProviderFault, Result
from ailink.batches.service import BatchService, line_name
from ailink.store import batches
from ailink.store.batches import Batch, Counts, Document
from ailink.store.database import Value

log = logging.getLogger(__name__)

AT_ONCE = 500
FLUSH_S = 30.0
COUNT_MS = 60_000
_COUNT = "SELECT COUNT(*) FROM attempt WHERE request_id = ?"


class _Files:
    """What the tenant gets: answers, and what was refused."""

    def __init__(self, batch: str) -> None:
        self.batch = batch
        self.answers: list[bytes] = []
        self.refusals: list[bytes] = []

    def answer(self, number: int, name: str, status: int, body: str) -> None:
        place = self.answers if 200 <= status < 300 else self.refusals
        place.append(answered(self.batch, number, name, status, body))

    def refuse(self, number: int, name: str, code: str, message: str) -> None:
        self.refusals.append(unanswered(self.batch, number, name, code, message))


class Finish:
    def __init__(self, service: BatchService) -> None:
        self._service = service
        self._ledger = service.ledger

    async def settle(
        self,
        record: Batch,
        document: Document,
        found: tuple[Sequence[Asked], Sequence[Result]],
        *,
        again: bool,
    ) -> None:
        """`found`: lines and what came of them. `again`: it was begun before. Raises `ProviderFault`."""
        lines, results = found
        by_name = {result.name: result for result in results}
        told = [(n, line, by_name.get(line_name(n))) for n, line in enumerate(lines)]
        asked = [(n, line, result) for n, line, result in told if result is not None and result.status]
        kept = _Files(record.id)
        for number, line, result in told:
            if result is None or not result.status:
                code = (result.code if result else "") or (
                    "batch_cancelled" if document.cancelled else "no_answer"
                )
                text = (result.body if result else "") or "The provider has no answer to this request."
                kept.refuse(number, line.name, code, text)
        done = await self._count(document) if again else 0
        spent, tokens = document.spent, [0, 0]
        groups = pieces(asked, AT_ONCE) or [(0, [])]
        for first, group in groups:
            settling = {
                "id": record.id,
                "digest": await self._service.digest_of(record.key_id),
                "key_id": record.key_id,
                "request_id": document.request_id,
                "model": document.model,
                "operation": document.operation,
                "deployment": document.deployment,
                "settled": min(max(done - first, 0), len(group)),
                "last": first + AT_ONCE >= len(asked),
                "carried": spent,
                "answers": [
                    {"status": result.status, "body": result.body, "request": line.body}
                    for _, line, result in group
                ],
            }
            settled = await ask(self._service.plane.batch_settle, settling, Settled)
            if settled.error is not None:
                raise ProviderFault(settled.error.code, settled.error.message, passing=True)
            spent += settled.cost
            for (number, line, result), answer in zip(group, settled.answers, strict=True):
                tokens[0] += answer.input
                tokens[1] += answer.output
                if answer.body is not None:
                    kept.answer(number, line.name, result.status, answer.body)
                elif answer.error is not None:
                    kept.refuse(number, line.name, answer.error.code, answer.error.message)
        document = await self._with_files(record, document, kept)
        counts = Counts(total=len(lines), completed=len(kept.answers), failed=len(kept.refusals))
        document = msgspec.structs.replace(
            document, counts=counts, spent=spent, input_tokens=tokens[0], output_tokens=tokens[1]
        )
        expired = any(result is not None and result.code == "batch_expired" for _, _, result in told)
        status = "cancelled" if document.cancelled else "expired" if expired else "completed"
        await self.end(record, document, status)

    async def _count(self, document: Document) -> int:
        """Rows of the batch that stand in the ledger."""

        def count() -> int:
            self._ledger.flush(FLUSH_S)
            params = msgspec.msgpack.encode([bytes.fromhex(document.request_id)])
            rows = msgspec.msgpack.decode(self._ledger.ledger_query(_COUNT, params, COUNT_MS))
            return int(rows[0][0])

        return await asyncio.to_thread(count)

    async def _with_files(self, record: Batch, document: Document, kept: _Files) -> Document:
        owner = Owner(record.owner, record.org_id)
        caller = Caller(role="key", key_id=record.key_id, request_id=record.trace_id)
        names: dict[str, str | None] = {}
        for field, rows in (("output_file", kept.answers), ("error_file", kept.refusals)):
            names[field] = None
            if rows:
                called = ("batch_output", f"{record.id}_{field.partition('_')[0]}.jsonl")
                names[field] = (await self._service.files.keep(owner, caller, called, b"".join(rows))).id
        return msgspec.structs.replace(
            document, output_file=names["output_file"], error_file=names["error_file"]
        )

    async def end(self, record: Batch, document: Document, status: str) -> None:
        """Nothing more is done for it."""
        now = self._service.files.now_us()
        document = msgspec.structs.replace(document, times={**document.times, status: now})
        columns: dict[str, Value] = {"status": status, "updated_us": now, "ended_us": now}
        database = self._service.files.database
        while True:
            if await batches.update(database, record, document, **columns) is not None:
                break
            latest = await batches.get(database, record.id)
            if latest is None or latest.ended_us is not None:
                break
            record = latest
        self._service.plane.batch_release(record.id)
        log.info("batch %s is %s", record.id, status)
