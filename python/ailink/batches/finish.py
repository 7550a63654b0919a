"""The end of a batch: answers in the caller's format, rows in the ledger, files for the tenant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin.call import Caller
from ailink.batches.files import Owner
from ailink.batches.lines import Asked, answered, line_id, unanswered
from ailink.batches.plane import Settled, ask, pieces
from ailink.batches.provider import ProviderFault, Result
from ailink.batches.service import BatchService, line_name, line_request_id
from ailink.store import batches, files
from ailink.store.batches import Batch, Counts, Document
from ailink.store.database import Value
from ailink.store.leaders import DeposedError

log = logging.getLogger(__name__)

AT_ONCE = 500
FLUSH_S = 30.0
QUERY_MS = 60_000
OUTPUT = "batch_output"
_STANDING = "SELECT request_id FROM attempt WHERE request_id > ? AND request_id <= ?"


class _Files:
    """What the tenant gets: answers, and what was refused."""

    def __init__(self, batch: str, request_id: str) -> None:
        self.batch = batch
        self.request_id = request_id
        self.answers: list[bytes] = []
        self.refusals: list[bytes] = []

    def answer(self, number: int, name: str, status: int, body: str) -> None:
        place = self.answers if 200 <= status < 300 else self.refusals
        request_id = line_request_id(self.request_id, number)
        place.append(answered(line_id(self.batch, number), request_id, name, status, body))

    def refuse(self, number: int, name: str, code: str, message: str) -> None:
        self.refusals.append(unanswered(line_id(self.batch, number), name, code, message))


class Finish:
    def __init__(self, service: BatchService) -> None:
        self._service = service
        self._ledger = service.ledger
        self._unbilled: dict[str, int] = {}
        """Batch → pico-USD of rows that this process has written, and not told the budgets of."""

    async def settle(
        self,
        record: Batch,
        document: Document,
        found: tuple[Sequence[Asked], Sequence[Result]],
        *,
        again: bool,
    ) -> None:
        """`found`: lines and what came of them. `again`: it was begun before, here or elsewhere.

        Raises `ProviderFault`, and `DeposedError` when another process follows the batch.
        """
        lines, results = found
        by_name = {result.name: result for result in results}
        told = [(n, line, by_name.get(line_name(n))) for n, line in enumerate(lines)]
        asked = [(n, line, result) for n, line, result in told if result is not None and result.status]
        kept = _Files(record.id, document.request_id)
        for number, line, result in told:
            if result is None or not result.status:
                code = (result.code if result else "") or (
                    "batch_cancelled" if document.cancelled else "no_answer"
                )
                text = (result.body if result else "") or "The provider has no answer to this request."
                kept.refuse(number, line.name, code, text)
        numbers = [number for number, _, _ in asked]
        standing = await self._standing(document, numbers) if again else frozenset()
        spent, tokens = 0, [0, 0]
        groups = pieces(asked, AT_ONCE) or [(0, [])]
        for first, group in groups:
            await batches.check(self._service.files.database, record)
            answers = [
                {
                    "line": number + 1,
                    "settled": number in standing,
                    "status": result.status,
                    "body": result.body,
                    "request": line.body,
                }
                for number, line, result in group
            ]
            settled = await self._settled(record, document, answers, last=first + AT_ONCE >= len(asked))
            spent += settled.spent
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

    async def leave(self, record: Batch) -> None:
        """Another process follows it now. What was written here for it counts; nothing else is set aside."""
        if self._unbilled.get(record.id):
            # Without its deployment nothing is billed; the rows stand.
            with contextlib.suppress(ProviderFault):
                await self._settled(record, record.told(), [], last=True)
        self._service.plane.batch_release(record.id)

    async def _settled(
        self, record: Batch, document: Document, answers: list[dict[str, Any]], *, last: bool
    ) -> Settled:
        """Raises `ProviderFault`."""
        settling = {
            "id": record.id,
            "digest": await self._service.digest_of(record.key_id),
            "key_id": record.key_id,
            "request_id": document.request_id,
            "model": document.model,
            "operation": document.operation,
            "deployment": document.deployment,
            "last": last,
            "carried": self._unbilled.get(record.id, 0),
            "answers": answers,
        }
        settled = await ask(self._service.plane.batch_settle, settling, Settled)
        if settled.error is None and last:
            self._unbilled.pop(record.id, None)
        else:
            self._unbilled[record.id] = self._unbilled.get(record.id, 0) + settled.cost
        if settled.error is not None:
            raise ProviderFault(settled.error.code, settled.error.message, passing=True)
        return settled

    async def _standing(self, document: Document, asked: Sequence[int]) -> frozenset[int]:
        """Lines, from 0, whose rows stand in the ledger: of all nodes, as far as they have come here. Raises
        `ProviderFault`.

        `asked`: the lines that have rows when all is settled, in their order. A version before this one began
        the batch if its id ends in other digits than zeros: that gave all rows this one id, line by line.
        """
        whole = bytes.fromhex(document.request_id)
        base = whole[:-4]

        def find() -> list[tuple[bytes]]:
            self._ledger.flush(FLUSH_S)
            params = msgspec.msgpack.encode([base + bytes(4), base + b"\xff" * 4])
            rows = self._ledger.ledger_query(_STANDING, params, QUERY_MS)
            return msgspec.msgpack.decode(rows, type=list[tuple[bytes]])

        try:
            rows = await asyncio.to_thread(find)
        except (RuntimeError, TimeoutError) as error:
            text = f"The ledger cannot be read just now: {error}"
            raise ProviderFault("ledger_unavailable", text, passing=True) from error
        former = sum(request_id == whole for (request_id,) in rows)
        own = (request_id for (request_id,) in rows if request_id != whole)
        return frozenset(asked[:former]).union(int.from_bytes(request_id[-4:]) - 1 for request_id in own)

    async def _with_files(self, record: Batch, document: Document, kept: _Files) -> Document:
        owner = Owner(record.owner, record.org_id)
        caller = Caller(role="key", key_id=record.key_id, request_id=record.trace_id)
        names: dict[str, str | None] = {}
        for field, rows in (("output_file", kept.answers), ("error_file", kept.refusals)):
            names[field] = None
            called = (OUTPUT, f"{record.id}_{field.partition('_')[0]}.jsonl")
            # Whoever settled it before may have come as far as this.
            for file_id in await files.named(self._service.files.database, record.owner, *called):
                await files.remove(self._service.files.database, file_id)
            if rows:
                names[field] = (await self._service.files.keep(owner, caller, called, b"".join(rows))).id
        return msgspec.structs.replace(
            document, output_file=names["output_file"], error_file=names["error_file"]
        )

    async def end(self, record: Batch, document: Document, status: str) -> None:
        """Nothing more is done for it. Raises `DeposedError`."""
        now = self._service.files.now_us()
        document = msgspec.structs.replace(document, times={**document.times, status: now})
        columns: dict[str, Value] = {"status": status, "updated_us": now, "ended_us": now}
        database, holder = self._service.files.database, record.claimed_by
        while await batches.update(database, record, document, **columns) is None:
            latest = await batches.get(database, record.id)
            if latest is None or latest.ended_us is not None or latest.claimed_by != holder:
                for file_id in (document.output_file, document.error_file):
                    if file_id is not None:
                        await files.remove(database, file_id)
                raise DeposedError(f"another process has ended {record.id}, or will")
            record = latest
        self._service.plane.batch_release(record.id)
        log.info("batch %s is %s", record.id, status)
