"""What is measured once, without rounds: memory when idle and per request in flight, and the cold start."""

import http.client
import statistics
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from benches.gateway import payload, wrk
from benches.gateway.bars import AILINK
from benches.gateway.correctness import ask
from benches.gateway.machine import family, resident_kib
from benches.gateway.mock import Hyper
from benches.gateway.nginx import Nginx
from benches.gateway.process import StartFailure
from benches.gateway.product import AILink, Variation
from benches.gateway.record import Figure, Record
from benches.gateway.system import Place, Route, System, Upstreams
from benches.gateway.wrk import ClosedLoop

IN_FLIGHT = 1000
SETTLE_SECONDS = 2.0
LOAD_SECONDS = 6.0
STARTS = 5
START_LIMIT_SECONDS = 60.0


def memory(upstreams: Upstreams, scripts: Mapping[str, str], folder: Path, record: Record) -> None:
    """W4: each system fresh; resident memory at rest, then with a thousand requests that wait for the
    provider.
    """
    fresh: list[System] = [Nginx(), Hyper(), AILink()]
    for system in fresh:
        place = Place(folder=folder / f"memory-{system.name}", upstreams=upstreams, scripts=scripts)
        try:
            system.start(place)
            time.sleep(SETTLE_SECONDS)
            idle = resident_kib(family(system.pids()))
            loaded = _while_waiting(system, place.folder)
        finally:
            system.stop()
        record.add(Figure(workload="W4", system=system.name, name="idle_mib", value=round(idle / 1024, 1)))
        each = round((loaded - idle) / IN_FLIGHT, 1)
        record.add(Figure(workload="W4", system=system.name, name="per_request_kib", value=each))


def _while_waiting(system: System, folder: Path) -> int:
    target = system.target(Route.SCRIPTED, "slow")
    if target is None:
        raise StartFailure(f"{system.name} has no slow route")
    body = payload.chat(target.model, payload.SMALL)
    loop = ClosedLoop(connections=IN_FLIGHT)
    load = threading.Thread(target=wrk.drive, args=(target, body, loop, LOAD_SECONDS, folder))
    load.start()
    time.sleep(LOAD_SECONDS * 0.75)
    loaded = resident_kib(family(system.pids()))
    load.join()
    return loaded


def cold_start(upstreams: Upstreams, folder: Path, record: Record) -> None:
    """W10: from the spawn of the process with an empty data directory to the first answered chat request;
    median.
    """
    times = []
    for number in range(STARTS):
        system = AILink(Variation(bare=True))
        began = time.monotonic()
        try:
            system.start(Place(folder=folder / f"cold-{number}", upstreams=upstreams, scripts={}))
            _first_answer(system, began)
            times.append(time.monotonic() - began)
        finally:
            system.stop()
    value = round(statistics.median(times), 3)
    record.add(Figure(workload="W10", system=AILINK, name="cold_start_s", value=value))


def _first_answer(system: AILink, began: float) -> None:
    target = system.target(Route.CANNED)
    while target is not None and time.monotonic() - began < START_LIMIT_SECONDS:
        try:
            response = ask(target)
            response.read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.002)
            continue
        if response.status == 200:
            return
        time.sleep(0.002)
    raise StartFailure(f"no answer within {START_LIMIT_SECONDS:.0f} s of the start")
