"""Anthropic's message batches: all requests in one body, all answers in one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ailink.batches.provider import (
    Result,
    Standing,
    Submission,
    Wire,
    count_of,
    raw_text,
    rows_of,
    text_of,
)

# What a refused request's type would have been answered with.
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


class AnthropicShape:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._jobs = wire.site.jobs

    async def submit(self, submission: Submission) -> dict[str, str]:
        parts = [
            b'{"custom_id":"%s","params":%s}' % (line.name.encode(), line.body.encode())
            for line in submission.lines
        ]
        body = b'{"requests":[%s]}' % b",".join(parts)
        told = rows_of(await self._wire.raw("POST", self._jobs, body), self._wire.spoilt("no JSON"))
        job = text_of(told[0], "id") if told else ""
        if not job:
            raise self._wire.spoilt("a batch without an id")
        return {"job": job}

    async def look(self, remote: Mapping[str, str]) -> Standing:
        found = await self._wire.json("GET", f"{self._jobs}/{remote['job']}")
        status, counts = text_of(found, "processing_status"), found.get("request_counts")
        if not status:
            raise self._wire.spoilt("a batch without a status")
        return Standing(
            state="ended" if status == "ended" else "running",
            completed=count_of(counts, "succeeded"),
            failed=count_of(counts, "errored", "expired", "canceled"),
            remote=dict(remote),
        )

    async def cancel(self, remote: Mapping[str, str]) -> None:
        await self._wire.json("POST", f"{self._jobs}/{remote['job']}/cancel", {})

    async def results(self, remote: Mapping[str, str]) -> list[Result]:
        # The address is put together here: what an answer says is no place to send a credential to.
        content = await self._wire.raw("GET", f"{self._jobs}/{remote['job']}/results", whole=True)
        return [_result(row) for row in rows_of(content, self._wire.spoilt("no JSON lines"))]

    async def clean(self, remote: Mapping[str, str]) -> None:
        await self._wire.raw("DELETE", f"{self._jobs}/{remote['job']}")


def _result(row: Mapping[str, Any]) -> Result:
    name, told = text_of(row, "custom_id"), row.get("result")
    kind = text_of(told, "type")
    if kind == "succeeded" and isinstance(told, dict):
        return Result(name=name, status=200, body=raw_text(told.get("message")))
    if kind == "errored" and isinstance(told, dict):
        error = told.get("error")
        inner = error.get("error", error) if isinstance(error, dict) else {}
        status = STATUSES.get(text_of(inner, "type"), 500)
        return Result(name=name, status=status, body=raw_text({"error": inner}))
    code = {"expired": "batch_expired", "canceled": "batch_cancelled"}.get(kind, "batch_request_failed")
    return Result(
        name=name, status=0, body=f"The request was not processed ({kind or 'unknown'}).", code=code
    )
