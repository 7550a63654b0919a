"""Batches of clouds: requests go into a bucket, answers come out of it. Vertex AI and Bedrock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

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

VERTEX: dict[str, State] = {
    "JOB_STATE_SUCCEEDED": "ended",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "ended",
    "JOB_STATE_CANCELLED": "ended",
    "JOB_STATE_EXPIRED": "ended",
    "JOB_STATE_FAILED": "failed",
}
BEDROCK: dict[str, State] = {
    "Completed": "ended",
    "PartiallyCompleted": "ended",
    "Stopped": "ended",
    "Expired": "ended",
    "Failed": "failed",
}
LABEL = "ailink-line"
OBJECTS_MOST = 1_000
_STATUS = re.compile(r"\b([45][0-9]{2})\b")


def _place(wire: Wire, scheme: str) -> tuple[str, str]:
    """Bucket and prefix. Raises `ProviderFault` where none is configured."""
    bucket = wire.site.bucket or ""
    if not bucket.startswith(f"{scheme}://"):
        text = (
            f"Batches of provider '{wire.site.provider}' go by a bucket: give the deployment "
            f"`batch: {{bucket: {scheme}://NAME/PREFIX}}`."
        )
        raise ProviderFault("batch_not_configured", text, passing=False)
    name, _, prefix = bucket.removeprefix(f"{scheme}://").partition("/")
    return name, f"{prefix.strip('/')}/" if prefix.strip("/") else ""


class VertexShape:
    """Google's models and those of its partners, by Cloud Storage."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._site = wire.site
        self._bucket, self._prefix = _place(wire, "gs")

    async def submit(self, submission: Submission) -> dict[str, str]:
        google = self._site.publisher == "google"
        lines = [_vertex_line(line.name, line.body, google) for line in submission.lines]
        name = f"{self._prefix}{submission.batch}/requests.jsonl"
        target = f"{self._site.files}/upload/storage/v1/b/{self._bucket}/o?uploadType=media"
        target = f"{target}&name={quote(name, safe='')}"
        await self._wire.raw("POST", target, b"\n".join(lines) + b"\n", kind="application/jsonl")
        output = f"{self._prefix}{submission.batch}/answers"
        job = {
            "displayName": submission.batch,
            "model": f"publishers/{self._site.publisher}/models/{self._site.model}",
            "inputConfig": {
                "instancesFormat": "jsonl",
                "gcsSource": {"uris": [f"gs://{self._bucket}/{name}"]},
            },
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": f"gs://{self._bucket}/{output}"},
            },
        }
        made = await self._wire.json("POST", self._site.jobs, job)
        number = text_of(made, "name").rpartition("/")[2]
        if not number.isalnum():
            raise self._wire.spoilt("a job without a name")
        return {"job": number, "input": name, "output": output}

    async def look(self, remote: Mapping[str, str]) -> Standing:
        found = await self._wire.json("GET", f"{self._site.jobs}/{remote['job']}")
        state, counts = text_of(found, "state"), found.get("completionStats")
        if not state:
            raise self._wire.spoilt("a job without a state")
        return Standing(
            state=VERTEX.get(state, "running"),
            completed=count_of(counts, "successfulCount"),
            failed=count_of(counts, "failedCount"),
            code="batch_failed",
            message=text_of(found, "error", "message"),
            remote=dict(remote),
        )

    async def cancel(self, remote: Mapping[str, str]) -> None:
        await self._wire.json("POST", f"{self._site.jobs}/{remote['job']}:cancel", {})

    async def results(self, remote: Mapping[str, str]) -> list[Result]:
        found = []
        for name in await self._names(remote["output"]):
            if not name.endswith(".jsonl"):
                continue
            url = f"{self._object(name)}?alt=media"
            content = await self._wire.raw("GET", url, whole=True)
            found += [_vertex_result(row) for row in rows_of(content, self._wire.spoilt("no JSON lines"))]
        return found

    async def clean(self, remote: Mapping[str, str]) -> None:
        for name in [remote["input"], *await self._names(remote["output"])]:
            await self._wire.raw("DELETE", self._object(name))

    def _object(self, name: str) -> str:
        return f"{self._site.files}/storage/v1/b/{self._bucket}/o/{quote(name, safe='')}"

    async def _names(self, under: str) -> list[str]:
        url = f"{self._site.files}/storage/v1/b/{self._bucket}/o?prefix={quote(under, safe='')}"
        found = await self._wire.json("GET", f"{url}&maxResults={OBJECTS_MOST}")
        items = found.get("items", [])
        return [text_of(item, "name") for item in items] if isinstance(items, list) else []


def _vertex_line(name: str, body: str, google: bool) -> bytes:
    """Google's own models repeat the request, and with it a label; others have a name of each line."""
    if not google:
        return b'{"custom_id":"%s","request":%s}' % (name.encode(), body.encode())
    request = msgspec.json.decode(body)
    labels = request.get("labels")
    request["labels"] = {**(labels if isinstance(labels, dict) else {}), LABEL: name}
    return msgspec.json.encode({"request": request})


def _vertex_result(row: Mapping[str, Any]) -> Result:
    name = text_of(row, "custom_id") or text_of(row, "request", "labels", LABEL)
    response, status = row.get("response"), row.get("status")
    if isinstance(response, dict) and response and not status:
        return Result(name=name, status=200, body=raw_text(response))
    message = status if isinstance(status, str) else raw_text(status)
    code = _STATUS.search(message)
    return Result(
        name=name, status=int(code[1]) if code else 500, body=raw_text({"error": {"message": message}})
    )


class BedrockShape:
    """Amazon's, by S3."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._site = wire.site
        self._bucket, self._prefix = _place(wire, "s3")

    async def submit(self, submission: Submission) -> dict[str, str]:
        if self._site.role is None:
            text = (
                "Bedrock reads and writes the bucket as a role: give the deployment `batch: {role: arn:…}`."
            )
            raise ProviderFault("batch_not_configured", text, passing=False)
        lines = [
            b'{"recordId":"%s","modelInput":%s}' % (line.name.encode(), line.body.encode())
            for line in submission.lines
        ]
        name = f"{self._prefix}{submission.batch}/requests.jsonl"
        await self._wire.raw("PUT", self._object(name), b"\n".join(lines) + b"\n", service="s3")
        output = f"{self._prefix}{submission.batch}/answers/"
        job = {
            "jobName": submission.batch.replace("_", "-"),
            "clientRequestToken": submission.batch.replace("_", "-"),
            "modelId": self._site.model,
            "roleArn": self._site.role,
            "modelInvocationType": "Converse" if submission.operation == "converse" else "InvokeModel",
            "inputDataConfig": {
                "s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": f"s3://{self._bucket}/{name}"}
            },
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{self._bucket}/{output}"}},
        }
        made = await self._wire.json("POST", self._site.jobs, job, service="bedrock")
        arn = text_of(made, "jobArn")
        if not arn:
            raise self._wire.spoilt("a job without an ARN")
        answers = f"{output}{arn.rpartition('/')[2]}/requests.jsonl.out"
        return {"job": arn, "input": name, "output": answers}

    async def look(self, remote: Mapping[str, str]) -> Standing:
        found = await self._wire.json("GET", self._job(remote), service="bedrock")
        status = text_of(found, "status")
        if not status:
            raise self._wire.spoilt("a job without a status")
        return Standing(
            state=BEDROCK.get(status, "running"),
            completed=count_of(found, "successRecordCount"),
            failed=count_of(found, "errorRecordCount"),
            code="batch_failed",
            message=text_of(found, "message"),
            remote=dict(remote),
        )

    async def cancel(self, remote: Mapping[str, str]) -> None:
        await self._wire.raw("POST", f"{self._job(remote)}/stop", service="bedrock")

    async def results(self, remote: Mapping[str, str]) -> list[Result]:
        content = await self._wire.raw("GET", self._object(remote["output"]), service="s3", whole=True)
        return [_bedrock_result(row) for row in rows_of(content, self._wire.spoilt("no JSON lines"))]

    async def clean(self, remote: Mapping[str, str]) -> None:
        for name in (remote["input"], remote["output"]):
            await self._wire.raw("DELETE", self._object(name), service="s3")

    def _job(self, remote: Mapping[str, str]) -> str:
        return f"{self._site.jobs}/{quote(remote['job'], safe='')}"

    def _object(self, name: str) -> str:
        return f"{self._site.files}/{self._bucket}/{name}"


def _bedrock_result(row: Mapping[str, Any]) -> Result:
    name, output, error = text_of(row, "recordId"), row.get("modelOutput"), row.get("error")
    if isinstance(output, dict):
        return Result(name=name, status=200, body=raw_text(output))
    code = error.get("errorCode") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    message = text_of(error, "errorMessage") or "The provider did not say why."
    return Result(name=name, status=status, body=raw_text({"error": {"message": message}}))
