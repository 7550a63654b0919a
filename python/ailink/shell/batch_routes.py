"""Files and batches as OpenAI's clients ask for them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing, Upload
from ailink.admin.errors import ApiError
from ailink.admin.services import Services
from ailink.batches.vault import Damaged
from ailink.ledger.money import Usd
from ailink.shell.policy import Policy
from ailink.shell.route import Content, Route, route
from ailink.store.batches import ENDED, Batch
from ailink.store.files import File

SECOND_US = 1_000_000
KEY = Policy.KEY
Limit = Annotated[int, Meta(ge=1, le=100)]


class FileView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FilesView(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[FileView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FilesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    purpose: str | None = None
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    order: Literal["desc"] = "desc"


class BatchesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: str | None = None
    limit: Limit = 20


class CreateBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]] | None = None


class FaultView(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    line: int | None
    param: str | None


class FaultsView(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[FaultView]


class CountsView(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    completed: int
    failed: int


class InputDetails(msgspec.Struct, frozen=True, kw_only=True):
    cached_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True, kw_only=True):
    reasoning_tokens: int = 0


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens_details: OutputDetails = OutputDetails()


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds since 1970. `cost`: once it is settled."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str
    errors: FaultsView | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: CountsView
    usage: UsageView | None
    cost: Usd | None
    metadata: dict[str, str] | None


class BatchesView(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[BatchView]
    first_id: str | None
    last_id: str | None
    has_more: bool


def file_view(record: File) -> FileView:
    return FileView(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_us // SECOND_US,
        expires_at=record.expires_us // SECOND_US,
        filename=record.name,
        purpose=record.purpose,
    )


def batch_view(record: Batch) -> BatchView:
    document = record.told()
    times = {name: at // SECOND_US for name, at in document.times.items()}
    faults = [
        FaultView(code=fault.code, message=fault.message, line=fault.line, param=fault.param)
        for fault in document.faults
    ]
    settled = record.status in ENDED and record.status != "failed"
    tokens = document.input_tokens + document.output_tokens
    usage = UsageView(
        input_tokens=document.input_tokens, output_tokens=document.output_tokens, total_tokens=tokens
    )
    return BatchView(
        id=record.id,
        endpoint=document.endpoint,
        model=document.asked,
        errors=FaultsView(data=faults) if faults else None,
        input_file_id=document.input_file,
        completion_window=document.window,
        status=record.status,
        output_file_id=document.output_file,
        error_file_id=document.error_file,
        created_at=record.created_us // SECOND_US,
        in_progress_at=times.get("in_progress"),
        expires_at=document.ends_us // SECOND_US,
        finalizing_at=times.get("finalizing"),
        completed_at=times.get("completed"),
        failed_at=times.get("failed"),
        expired_at=times.get("expired"),
        cancelling_at=times.get("cancelling"),
        cancelled_at=times.get("cancelled"),
        request_counts=CountsView(
            total=document.counts.total, completed=document.counts.completed, failed=document.counts.failed
        ),
        usage=usage if settled else None,
        cost=Usd(document.spent) if settled else None,
        metadata=document.metadata,
    )


async def create_file(services: Services, call: Call[Upload, Nothing]) -> FileView:
    """A form with `purpose` (`batch`) and `file`: JSON lines, each a request."""
    return file_view(await services.files.create(call.caller, call.body))


async def list_files(services: Services, call: Call[Nothing, FilesQuery]) -> FilesView:
    query = call.query
    found, more = await services.files.page(call.caller, query.purpose, query.after, query.limit)
    data = [file_view(record) for record in found]
    return FilesView(
        data=data, first_id=data[0].id if data else None, last_id=data[-1].id if data else None, has_more=more
    )


async def get_file(services: Services, call: Call[Nothing, Nothing]) -> FileView:
    return file_view(await services.files.get(call.caller, call.path["file_id"]))


async def file_content(services: Services, call: Call[Nothing, Nothing]) -> Content:
    record = await services.files.get(call.caller, call.path["file_id"])
    try:
        body = await services.files.vault.read(record)
    except Damaged as error:
        text = f"the file cannot be read: {error}"
        raise ApiError(409, text, type="invalid_request_error", code="file_damaged") from error
    return Content(body=body, media_type="application/octet-stream")


async def delete_file(services: Services, call: Call[Nothing, Nothing]) -> FileDeleted:
    return FileDeleted(id=(await services.files.remove(call.caller, call.path["file_id"])).id)


async def create_batch(services: Services, call: Call[CreateBatch, Nothing]) -> BatchView:
    """Every line is checked before anything is sent: its format, access to its model, the budget for all."""
    body = call.body
    record = await services.batches.create(
        call.caller, body.input_file_id, body.endpoint, body.completion_window, body.metadata
    )
    return batch_view(record)


async def list_batches(services: Services, call: Call[Nothing, BatchesQuery]) -> BatchesView:
    found, more = await services.batches.page(call.caller, call.query.after, call.query.limit)
    data = [batch_view(record) for record in found]
    return BatchesView(
        data=data, first_id=data[0].id if data else None, last_id=data[-1].id if data else None, has_more=more
    )


async def get_batch(services: Services, call: Call[Nothing, Nothing]) -> BatchView:
    return batch_view(await services.batches.get(call.caller, call.path["batch_id"]))


async def cancel_batch(services: Services, call: Call[Nothing, Nothing]) -> BatchView:
    """Requests that are done by then are paid for, and their answers are kept."""
    return batch_view(await services.batches.cancel(call.caller, call.path["batch_id"]))


def _routes(root: str) -> tuple[Route, ...]:
    return (
        route("POST", f"{root}/files", KEY, create_file, "Keep a file", tag="Batches",
              body=Upload, response=FileView),
        route("GET", f"{root}/files", KEY, list_files, "Files that are kept", tag="Batches",
              query=FilesQuery, response=FilesView),
        route("GET", f"{root}/files/{{file_id}}", KEY, get_file, "One file", tag="Batches",
              response=FileView),
        route("GET", f"{root}/files/{{file_id}}/content", KEY, file_content, "What is in a file",
              tag="Batches"),
        route("DELETE", f"{root}/files/{{file_id}}", KEY, delete_file, "Remove a file", tag="Batches",
              response=FileDeleted),
        route("POST", f"{root}/batches", KEY, create_batch, "Hand many requests over at once",
              tag="Batches", body=CreateBatch, response=BatchView),
        route("GET", f"{root}/batches", KEY, list_batches, "Batches", tag="Batches",
              query=BatchesQuery, response=BatchesView),
        route("GET", f"{root}/batches/{{batch_id}}", KEY, get_batch, "One batch", tag="Batches",
              response=BatchView),
        route("POST", f"{root}/batches/{{batch_id}}/cancel", KEY, cancel_batch, "Stop a batch",
              tag="Batches", response=BatchView),
    )  # fmt: skip


BATCH_ROUTES: tuple[Route, ...] = (*_routes("/v1"), *_routes("/openai/v1"))
