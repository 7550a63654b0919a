"""The shell's own series for `/metrics`. Labels are bounded: route patterns of the table, methods, status
classes, event kinds.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED = "unmatched"
# Event kinds beyond this many share one label value, whatever the plane may come to send.
EVENT_KINDS = 64
# Times of creation as series of their own belong to OpenMetrics; in the text format they are noise.
disable_created_metrics()  # type: ignore[no-untyped-call]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class ShellMetrics:
    """A registry of its own, so that two servers in one process do not share series."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ailink_shell_requests",
            "Requests the shell answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ailink_shell_request_seconds",
            "Time from the request to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._events = Counter(
            "ailink_shell_events", "Events of the data plane, by kind.", ("kind",), registry=self._registry
        )
        self._lost = Counter(
            "ailink_shell_events_lost",
            "Events the data plane dropped, its ring being full.",
            registry=self._registry,
        )
        self._approvals = Counter(
            "ailink_approvals", "What happened with approvals.", ("event",), registry=self._registry
        )
        self._strategies = Counter(
            "ailink_custom_strategy",
            "Turns of strategies written in Python, by result.",
            ("model", "result"),
            registry=self._registry,
        )
        self._spans = Counter(
            "ailink_trace_spans",
            "Spans of traces, by what became of them.",
            ("result",),
            registry=self._registry,
        )
        self._kinds: set[str] = set()
        build = Gauge(
            "ailink_build_info", "Always 1; the version is the label.", ("version",), registry=self._registry
        )
        build.labels(version).set(1)
        ProcessCollector(registry=self._registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer; `route` is a pattern of the route table, or `UNMATCHED`."""
        self._requests.labels(method if route != UNMATCHED else UNMATCHED, route, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)

    def event(self, kind: str, lost: int) -> None:
        """Counts one event and those that were lost before it."""
        if kind not in self._kinds:
            if len(self._kinds) >= EVENT_KINDS:
                kind = "other"
            else:
                self._kinds.add(kind)
        self._events.labels(kind).inc()
        if lost:
            self._lost.inc(lost)

    def approval(self, event: str) -> None:
        """Counts what happened with an approval."""
        self._approvals.labels(event).inc()

    def strategy(self, model: str, result: str) -> None:
        """Counts one turn of a model's strategy: `ok`, `late`, `failed`."""
        self._strategies.labels(model, result).inc()

    def spans(self, result: str, count: int) -> None:
        """Counts spans: `sent`, `failed` (the collector did not take them), `dropped` (there was no room)."""
        self._spans.labels(result).inc(count)

    def render(self) -> bytes:
        """All series in the Prometheus text format."""
        return generate_latest(self._registry)
