"""What each W measures: who takes turns, under which load, with which bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from benches.gateway import payload
from benches.gateway.bars import (
    AILINK,
    CACHED,
    GROWN,
    GUARDED,
    HYPER,
    LIMITED,
    NGINX,
    STATIC,
    TRANSLATED,
    TRANSLATED_BACK,
)
from benches.gateway.generator import OpenLoop, Streams
from benches.gateway.system import Route
from benches.gateway.wrk import ClosedLoop

# How the mock provider answers, by name; the values are its scripts.
SCRIPTS = {
    "stream": "ttft=25&gap=5&events=64&stamp=1",
    "long": "gap=20&events=200",
    "burst": "events=64",
    "slow": "latency=1000",
    "limited": "status=429&retry_after=1",
    "lognormal": "latency=lognormal:300:2000",
}


@dataclass(frozen=True)
class Entry:
    """A system in a contest and the way its requests take; the script names one of SCRIPTS."""

    system: str
    route: Route = Route.CANNED
    script: str = ""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Systems that take turns under the same load."""

    workload: str
    variant: str = ""
    entries: Sequence[Entry]
    shape: payload.Shape = payload.SMALL
    load: ClosedLoop | Streams | OpenLoop
    per_event: bool = False
    refusals: bool = False  # refusals are what is measured, not a fault
    seconds: float | None = None  # instead of the run's


def _proxied(route: Route, script: str, others: Sequence[str] = ()) -> list[Entry]:
    return [Entry(system, route, script) for system in (NGINX, HYPER, AILINK, *others)]


def contests(peers: Sequence[str] = ()) -> list[Contest]:
    """All contests in the order they run; peers take part where they are comparable."""
    canned = [Entry(system) for system in (NGINX, HYPER, AILINK)]
    with_peers = [*canned, *(Entry(peer) for peer in peers)]
    loop = ClosedLoop(connections=32)
    return [
        Contest(workload="W1", entries=with_peers, load=loop),
        Contest(workload="W1l", entries=[Entry(NGINX), Entry(AILINK), Entry(LIMITED)], load=loop),
        Contest(workload="W2", entries=with_peers, load=loop, shape=payload.LARGE),
        Contest(
            workload="W3",
            entries=_proxied(Route.SCRIPTED, "stream", peers),
            load=Streams(connections=100),
            shape=payload.STREAM,
            per_event=True,
        ),
        Contest(
            workload="W3t",
            entries=[
                Entry(system, Route.SCRIPTED, "stream")
                for system in (AILINK, TRANSLATED, TRANSLATED_BACK, GUARDED)
            ],
            load=Streams(connections=100),
            shape=payload.STREAM,
            per_event=True,
        ),
        *(
            Contest(workload="W4", variant=f"c={count}", entries=canned, load=ClosedLoop(connections=count))
            for count in (1, 100, 1000)
        ),
        Contest(
            workload="W5",
            entries=_proxied(Route.SCRIPTED, "lognormal"),
            load=OpenLoop(rate=1000),
            seconds=12,
        ),
        Contest(workload="W6", entries=[Entry(NGINX), Entry(CACHED, Route.CACHED)], load=loop),
        Contest(
            workload="W6",
            variant="stream",
            entries=[Entry(NGINX), Entry(CACHED, Route.CACHED, "burst")],
            load=loop,
            shape=payload.STREAM,
        ),
        Contest(
            workload="W8",
            variant="429",
            entries=[Entry(NGINX), Entry(STATIC, Route.LIMITED), Entry(AILINK, Route.LIMITED)],
            load=loop,
            refusals=True,
        ),
        Contest(
            workload="W8",
            variant="401",
            entries=[Entry(NGINX), Entry(STATIC, Route.STRANGER), Entry(AILINK, Route.STRANGER)],
            load=ClosedLoop(connections=32, keys=10_000),
            refusals=True,
        ),
        Contest(workload="W12", entries=[Entry(NGINX), Entry(AILINK), Entry(GROWN)], load=loop),
    ]


SHORT = ("W1", "W3", "W6", "W8")
