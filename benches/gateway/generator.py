"""Our own generator, `ailink-mock load`: an open loop whose schedule no slow answer delays, and streams with
their events.

Latencies count from the scheduled time, so they are free of coordinated omission. The mock provider tells its
own time with every answer and stamps every event: what the gateway added is measured per request and per
event.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benches.gateway.load import Load, LoadFailure
from benches.gateway.machine import LOAD_CORE
from benches.gateway.mock import BINARY
from benches.gateway.system import Target


@dataclass(frozen=True, kw_only=True)
class OpenLoop:
    """So many requests a second, whatever the answers.

    The first `opening_s` seconds are driven but not measured: with nothing open yet, hundreds of connections
    begin at once on both sides, and the load's own burst (3 ms straight to the provider) would be all that a
    99th percentile shows.
    """

    rate: int
    opening_s: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Streams:
    """So many connections, each reads stream after stream."""

    connections: int


class _Percentiles(msgspec.Struct, frozen=True):
    p50: float
    p99: float


class _Latencies(msgspec.Struct, frozen=True):
    total: _Percentiles | None
    added: _Percentiles | None
    event_added: _Percentiles | None


class _Report(msgspec.Struct, frozen=True):
    """The part of the generator's JSON that is used here; times in µs."""

    duration_s: float
    finished: int
    ok: int
    failed: int
    errors: dict[str, int]
    events: int
    body_bytes: int
    latency_us: _Latencies


def drive(target: Target, body: bytes, load: OpenLoop | Streams, seconds: float, folder: Path) -> Load:
    """Send the body to the target for the time told; the generator runs on its own core."""
    payload = folder / "payload"
    payload.write_bytes(body)
    opening = load.opening_s if isinstance(load, OpenLoop) else 0.0
    pace = (
        ("--connections", str(load.connections)) if isinstance(load, Streams) else ("--rate", str(load.rate))
    )
    command = [
        *(
            "taskset",
            "--cpu-list",
            str(LOAD_CORE),
            str(BINARY),
            "load",
            "--bench",
            "--url",
            target.url,
            *pace,
        ),
        *("--duration", f"{seconds * 1000:.0f}ms", "--warmup", f"{opening * 1000:.0f}ms"),
        *("--body", str(payload)),
    ]
    if target.url.endswith("/v1/messages"):
        command += ["--preset", "messages"]  # how its streams end
    for name, value in target.headers.items():
        if name.lower() != "content-type":  # the generator sends its own
            command += ["--header", f"{name}: {value}"]
    limit = opening + seconds + 120
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    if done.returncode != 0:
        raise LoadFailure(f"ailink-mock load ended with {done.returncode}:\n{done.stderr or done.stdout}")
    report = msgspec.json.decode(done.stdout, type=_Report)
    added = report.latency_us.event_added if isinstance(load, Streams) else report.latency_us.added
    total = report.latency_us.total
    return Load(
        requests=report.finished,
        seconds=report.duration_s + opening,
        bytes=report.body_bytes,
        refused=0,
        broken=report.failed,
        p50_us=total.p50 if total else 0.0,
        p99_us=total.p99 if total else 0.0,
        events=report.events,
        added_p50_us=added.p50 if added else None,
        added_p99_us=added.p99 if added else None,
    )
