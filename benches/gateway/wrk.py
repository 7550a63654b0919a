"""Closed-loop load by wrk: as many connections as told, each asks again when it has its answer."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benches.gateway.load import Load, LoadFailure
from benches.gateway.machine import LOAD_CORE
from benches.gateway.process import find_tool
from benches.gateway.system import Target

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """How to load: connections, and how many different keys to use in turn (0: the target's own)."""

    connections: int
    keys: int = 0


def drive(target: Target, body: bytes, loop: ClosedLoop, seconds: float, folder: Path) -> Load:
    """Send the body to the target for the time told; the generator runs on its own core."""
    wrk = find_tool("wrk")
    if wrk is None:
        raise LoadFailure("wrk is not installed")
    payload = folder / "payload"
    payload.write_bytes(body)
    headers = [part for pair in target.headers.items() for part in pair]
    command = [
        *("taskset", "--cpu-list", str(LOAD_CORE), wrk, "--threads", "1", "--latency"),
        *("--connections", str(loop.connections), "--duration", f"{seconds:.0f}s", "--timeout", "30s"),
        *("--script", str(SCRIPT), target.url, "--", str(payload), str(loop.keys), *headers),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 90)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return msgspec.json.decode(line.removeprefix("RESULT "), type=Load)
    raise LoadFailure(f"wrk said:\n{done.stdout}{done.stderr}")
