"""A collector of traces as OTLP has them over HTTP: keeps what it is sent, answers as it is told."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.harness.process import free_port
from tests.harness.until import until


class Seen(NamedTuple):
    """One span, with its attributes as a mapping."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]
    events: list[dict[str, Any]]


class Collector:
    """Started with `start`, ended with `close`; its port stays the same."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.status = 200
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.refused = 0
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = outer.status if self.path == "/v1/traces" else 404
                if status == 200:
                    outer.bodies.append(body)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                else:
                    outer.refused += 1
                self.send_response(status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def text(self) -> str:
        """All that was ever sent here, headers too."""
        return "\n".join([*(body.decode() for body in self.bodies), *map(str, self.headers)])

    def spans(self) -> list[Seen]:
        return [span for body in list(self.bodies) for span in spans_of(body)]

    def of(self, request_id: str, count: int) -> list[Seen]:
        """The spans of a request, its own first, as soon as there are so many."""

        def enough() -> list[Seen]:
            found = [span for span in self.spans() if span.attributes["ailink.request_id"] == request_id]
            return found if len(found) >= count else []

        found = until(enough, f"{count} spans of {request_id}")
        return sorted(found, key=lambda span: (span.kind, span.attributes.get("ailink.attempt.number", 0)))


def parsed(body: bytes) -> ExportTraceServiceRequest:
    """By OpenTelemetry's own definition, which takes nothing that it does not know. OTLP writes identifiers
    as hexadecimal digits where protobuf's JSON has base64.
    """
    document = json.loads(body)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(document, ExportTraceServiceRequest())


def spans_of(body: bytes) -> list[Seen]:
    return [
        Seen(
            name=span.name,
            kind=span.kind,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            attributes=attributes_of(span.attributes),
            events=[attributes_of(event.attributes) for event in span.events],
        )
        for resource in parsed(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(item) for item in found.values] if kind == "array_value" else found
