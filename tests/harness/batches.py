"""Providers' batches, each in its own shape: OpenAI's, Anthropic's, Vertex AI's, Bedrock's, with their
buckets. What comes of a request is told by its text; nothing is worked on before the test says so.
"""

import gzip
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

USED = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def chat_answer(request: dict[str, Any]) -> dict[str, Any]:
    said = request["messages"][-1]["content"] if "messages" in request else request.get("input")
    message = {"role": "assistant", "content": f"echo: {said}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": request["model"],
        "choices": [choice],
        "usage": USED,
    }


def claude_answer(request: dict[str, Any]) -> dict[str, Any]:
    said = request["messages"][-1]["content"]
    text = said if isinstance(said, str) else said[0]["text"]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.get("model", "claude"),
        "content": [{"type": "text", "text": f"echo: {text}"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 20},
    }


def gemini_answer(request: dict[str, Any]) -> dict[str, Any]:
    text = request["contents"][-1]["parts"][0]["text"]
    part = {"content": {"role": "model", "parts": [{"text": f"echo: {text}"}]}, "finishReason": "STOP"}
    return {
        "candidates": [part],
        "modelVersion": "gemini",
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120},
    }


def converse_answer(request: dict[str, Any]) -> dict[str, Any]:
    text = request["messages"][-1]["content"][0]["text"]
    message = {"role": "assistant", "content": [{"text": f"echo: {text}"}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120},
    }


class BatchProvider:
    """Use as a context manager. `done`: jobs have ended; `refuses`: status and body of every answer instead;
    `spoilt`: what stands in place of the answers' file; `packed`: it is compressed, as object stores do.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.objects: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.done = threading.Event()
        self.refuses: tuple[int, bytes] | None = None
        self.spoilt: bytes | None = None
        self.packed = False
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _all(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                double.asked.append(Asked(self.command, self.path, headers, body))
                status, content = double.refuses or double.answer(self.command, self.path, headers, body)
                self.send_response(status)
                if double.packed:
                    content = gzip.compress(content)
                    self.send_header("content-encoding", "gzip")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = _all  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # ── what is answered ─────────────────────────────────────────────────────────────────────────────────

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        path = unquote(urlsplit(target).path)
        query = parse_qs(urlsplit(target).query)
        found: Any
        for root, handle in self._handlers().items():
            if path.startswith(root):
                found = handle(method, path.removeprefix(root), query, (headers, body))
                return found if isinstance(found, tuple) else (200, json.dumps(found).encode())
        return 404, b'{"error":{"message":"unknown path"}}'

    def _handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            "/v1/messages/batches": self._anthropic,
            "/v1/files": self._openai_files,
            "/v1/batches": self._openai_jobs,
            "/vertex": self._vertex,
            "/upload/storage/v1/b/": self._gcs_upload,
            "/storage/v1/b/": self._gcs,
            "/bedrock/model-invocation-job": self._bedrock,
            "/s3/": self._s3,
        }

    def _file(self, good: list[dict[str, Any]]) -> bytes:
        return self.spoilt or lines_of(good)

    def _openai_files(self, method: str, rest: str, _: Any, sent: Any) -> Any:
        name = rest.strip("/").removesuffix("/content")
        if method == "POST":
            content = sent[1].split(b"application/jsonl\r\n\r\n")[1].rsplit(b"\r\n--", 1)[0]
            name = f"file-up{len(self.objects)}"
            self.objects[name] = content
            return {"id": name, "object": "file"}
        if method == "DELETE":
            self.objects.pop(name, None)
            return {"id": name, "deleted": True}
        return 200, self.spoilt if self.spoilt and name in ("out", "err") else self.objects[name]

    def _openai_jobs(self, method: str, rest: str, _: Any, sent: Any) -> Any:
        name = rest.strip("/").removesuffix("/cancel")
        if method == "POST" and not name:
            name = f"batch_up{len(self.jobs)}"
            self.jobs[name] = {**json.loads(sent[1]), "id": name, "status": "in_progress"}
            return self.jobs[name]
        job = self.jobs[name]
        if method == "POST":
            job["status"] = "cancelling"
        if self.done.is_set() and job["status"] in ("in_progress", "cancelling"):
            rows = [json.loads(line) for line in self.objects[job["input_file_id"]].splitlines()]
            good, bad = [], []
            for row in rows:
                if "REFUSE" in json.dumps(row["body"]):
                    told = {"status_code": 400, "body": {"error": {"message": "no"}}}
                    bad.append({"custom_id": row["custom_id"], "response": told, "error": None})
                elif "EXPIRE" in json.dumps(row["body"]) or job["status"] == "cancelling":
                    code = "batch_expired" if job["status"] == "in_progress" else "batch_cancelled"
                    error = {"code": code, "message": "not processed"}
                    bad.append({"custom_id": row["custom_id"], "response": None, "error": error})
                else:
                    answer = (
                        embedding(row["body"]) if "embeddings" in row["url"] else chat_answer(row["body"])
                    )
                    told = {"status_code": 200, "body": answer}
                    good.append({"custom_id": row["custom_id"], "response": told, "error": None})
            self.objects["out"], self.objects["err"] = lines_of(good[::-1]), lines_of(bad)
            status = "cancelled" if job["status"] == "cancelling" else "completed"
            counts = {"total": len(rows), "completed": len(good), "failed": len(bad)}
            job |= {
                "status": status,
                "output_file_id": "out",
                "error_file_id": "err",
                "request_counts": counts,
            }
        return job

    def _anthropic(self, method: str, rest: str, _: Any, sent: Any) -> Any:
        name, _, verb = rest.strip("/").partition("/")
        if method == "POST" and not name:
            name = f"msgbatch_{len(self.jobs)}"
            self.jobs[name] = {"requests": json.loads(sent[1])["requests"], "cancelled": False}
        job = self.jobs[name]
        if verb == "cancel":
            job["cancelled"] = True
        if verb == "results":
            rows = []
            for row in job["requests"]:
                result: dict[str, Any] = {"type": "succeeded", "message": claude_answer(row["params"])}
                if "REFUSE" in json.dumps(row):
                    error = {"type": "invalid_request_error", "message": "no"}
                    result = {"type": "errored", "error": {"type": "error", "error": error}}
                elif "EXPIRE" in json.dumps(row):
                    result = {"type": "expired"}
                rows.append({"custom_id": row["custom_id"], "result": result})
            return 200, self._file(rows[::-1])
        counts = {
            "processing": 0,
            "succeeded": len(job["requests"]),
            "errored": 0,
            "canceled": 0,
            "expired": 0,
        }
        status = "ended" if self.done.is_set() else "in_progress"
        return {"id": name, "processing_status": status, "request_counts": counts}

    def _vertex(self, method: str, rest: str, _: Any, sent: Any) -> Any:
        if method == "POST" and rest.endswith("/batchPredictionJobs"):
            job = json.loads(sent[1])
            name = str(1000 + len(self.jobs))
            self.jobs[name] = job
            return {
                "name": f"projects/p/locations/r/batchPredictionJobs/{name}",
                "state": "JOB_STATE_PENDING",
            }
        name = re.sub(r":cancel$", "", rest.rpartition("/")[2])
        job = self.jobs[name]
        if not self.done.is_set():
            return {"name": rest, "state": "JOB_STATE_RUNNING"}
        source = job["inputConfig"]["gcsSource"]["uris"][0]
        target = job["outputConfig"]["gcsDestination"]["outputUriPrefix"].removeprefix("gs://")
        rows = []
        for line in self.objects[source.removeprefix("gs://")].splitlines():
            row = json.loads(line)
            if "REFUSE" in line.decode():
                rows.append({**row, "status": 'Bad Request: {"code": 400}', "response": {}})
            else:
                answer = claude_answer if "custom_id" in row else gemini_answer
                rows.append({**row, "status": "", "response": answer(row["request"])})
        self.objects[f"{target}/prediction-x/predictions.jsonl"] = self._file(rows[::-1])
        return {"name": rest, "state": "JOB_STATE_SUCCEEDED", "completionStats": {"successfulCount": "3"}}

    def _gcs_upload(self, method: str, rest: str, query: dict[str, list[str]], sent: Any) -> Any:
        self.objects[f"{rest.split('/')[0]}/{query['name'][0]}"] = sent[1]
        return {"name": query["name"][0]}

    def _gcs(self, method: str, rest: str, query: dict[str, list[str]], _: Any) -> Any:
        bucket, _, name = rest.partition("/o")
        if not name:
            under = f"{bucket}/{query['prefix'][0]}"
            return {
                "items": [{"name": key.partition("/")[2]} for key in self.objects if key.startswith(under)]
            }
        key = f"{bucket}/{name.strip('/')}"
        if method == "DELETE":
            del self.objects[key]
            return 204, b""
        return 200, self.objects[key]

    def _bedrock(self, method: str, rest: str, _: Any, sent: Any) -> Any:
        if method == "POST" and not rest:
            arn = f"arn:aws:bedrock:eu-west-1:1:model-invocation-job/job{len(self.jobs)}"
            self.jobs[arn] = json.loads(sent[1])
            return {"jobArn": arn}
        job = self.jobs[rest.strip("/").removesuffix("/stop")]
        if not self.done.is_set():
            return {"status": "InProgress"}
        source = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix("s3://")
        target = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix("s3://")
        answer = converse_answer if job["modelInvocationType"] == "Converse" else claude_answer
        rows: list[dict[str, Any]] = []
        for line in self.objects[source].splitlines():
            row = json.loads(line)
            if "REFUSE" in line.decode():
                rows.append({**row, "error": {"errorCode": 400, "errorMessage": "no"}})
            else:
                rows.append({**row, "modelOutput": answer(row["modelInput"])})
        number = rest.rpartition("/")[2]
        self.objects[f"{target}{number}/requests.jsonl.out"] = self._file(rows[::-1])
        return {"status": "Completed"}

    def _s3(self, method: str, rest: str, _: Any, sent: Any) -> Any:
        if method == "PUT":
            self.objects[rest] = sent[1]
        elif method == "DELETE":
            self.objects.pop(rest, None)
        return 200, self.objects.get(rest, b"") if method == "GET" else b""


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def embedding(request: dict[str, Any]) -> dict[str, Any]:
    row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    return {
        "object": "list",
        "data": [row],
        "model": request["model"],
        "usage": {"prompt_tokens": 100, "total_tokens": 100},
    }
