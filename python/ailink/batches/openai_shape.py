"""OpenAI's batches: a file goes there, a file comes back. Azure, Groq and others have the same."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from ailink.batches.lines import ENDPOINTS
from ailink.batches.provider import (
    ProviderFault,
    Result,
    Standing,
    State,
    Submission,
    Wire,
    count_of,
    raw_text,
    rows_of,
    text_of,
)

MARK = "ailink_batch"
STATES: dict[str, State] = {
    "completed": "ended",
    "expired": "ended",
    "cancelled": "ended",
    "failed": "failed",
}


class OpenAiShape:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._site = wire.site

    async def submit(self, submission: Submission) -> dict[str, str]:
        paths = [path for path, operation in ENDPOINTS.items() if operation == submission.operation]
        if not paths:
            text = f"Provider '{self._site.provider}' takes no batches of '{submission.operation}'."
            raise ProviderFault("feature_unsupported", text, passing=False)
        endpoint = f"{self._site.prefix}{paths[0].removeprefix('/v1')}"
        lines = [
            b'{"custom_id":"%s","method":"POST","url":"%s","body":%s}'
            % (line.name.encode(), endpoint.encode(), line.body.encode())
            for line in submission.lines
        ]
        kind, form = _form({"purpose": "batch"}, b"\n".join(lines) + b"\n")
        told = await self._wire.raw("POST", self._site.files, form, kind=kind)
        file_id = text_of(_decoded(told), "id")
        if not file_id:
            raise self._wire.spoilt("a file without an id")
        job = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": submission.window,
            "metadata": {MARK: submission.batch},
        }
        made = await self._wire.json("POST", self._site.jobs, job)
        if not text_of(made, "id"):
            raise self._wire.spoilt("a batch without an id")
        return {"job": text_of(made, "id"), "input": file_id}

    async def look(self, remote: Mapping[str, str]) -> Standing:
        found = await self._wire.json("GET", f"{self._site.jobs}/{remote['job']}")
        status, counts = text_of(found, "status"), found.get("request_counts")
        if not status:
            raise self._wire.spoilt("a batch without a status")
        names = {"output": text_of(found, "output_file_id"), "errors": text_of(found, "error_file_id")}
        errors = found.get("errors")
        first = errors.get("data") if isinstance(errors, dict) else None
        fault = first[0] if isinstance(first, list) and first else {}
        return Standing(
            state=STATES.get(status, "running"),
            completed=count_of(counts, "completed"),
            failed=count_of(counts, "failed"),
            code=text_of(fault, "code"),
            message=text_of(fault, "message"),
            remote={**remote, **{name: value for name, value in names.items() if value}},
        )

    async def cancel(self, remote: Mapping[str, str]) -> None:
        await self._wire.json("POST", f"{self._site.jobs}/{remote['job']}/cancel", {})

    async def results(self, remote: Mapping[str, str]) -> list[Result]:
        found = []
        for file_id in filter(None, (remote.get("output"), remote.get("errors"))):
            content = await self._wire.raw("GET", f"{self._site.files}/{file_id}/content", whole=True)
            found += [_result(row) for row in rows_of(content, self._wire.spoilt("no JSON lines"))]
        return found

    async def clean(self, remote: Mapping[str, str]) -> None:
        for file_id in filter(None, (remote.get(name) for name in ("input", "output", "errors"))):
            await self._wire.raw("DELETE", f"{self._site.files}/{file_id}")


def _result(row: Mapping[str, Any]) -> Result:
    response, error = row.get("response"), row.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    if isinstance(response, dict) and isinstance(status, int) and status:
        return Result(name=text_of(row, "custom_id"), status=status, body=raw_text(response.get("body")))
    code = text_of(error, "code") or "batch_request_failed"
    return Result(name=text_of(row, "custom_id"), status=0, body=text_of(error, "message"), code=code)


def _decoded(told: bytes) -> Any:
    try:
        return msgspec.json.decode(told)
    except msgspec.DecodeError:
        return None


def _form(fields: Mapping[str, str], content: bytes) -> tuple[str, bytes]:
    mark = secrets.token_hex(16)
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    named = 'Content-Disposition: form-data; name="file"; filename="batch.jsonl"'
    head = f"--{mark}\r\n{named}\r\nContent-Type: application/jsonl\r\n\r\n"
    parts += [head.encode(), content, f"\r\n--{mark}--\r\n".encode()]
    return f"multipart/form-data; boundary={mark}", b"".join(parts)
