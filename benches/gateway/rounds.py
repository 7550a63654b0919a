"""Interleaved rounds: in each, every system of a contest takes its turn, in shuffled order."""

import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benches.gateway import generator, payload, wrk
from benches.gateway.load import Load
from benches.gateway.machine import LOAD_CORE, CpuReading, family, read_core, read_cpu, resident_kib
from benches.gateway.product import LEDGER_THREAD
from benches.gateway.record import Cell, Record
from benches.gateway.system import System, Target
from benches.gateway.workloads import Contest, Entry
from benches.gateway.wrk import ClosedLoop

WARM_UP_SECONDS = 1.0
# A system has settled when it used less than this share of a core over the window: what a load leaves behind
# (records still to be written, answers nobody waits for) is counted where it belongs, and does not disturb
# the next turn.
SETTLED_SHARE = 0.02
SETTLE_WINDOW_SECONDS = 0.5
SETTLE_LIMIT_SECONDS = 20.0
# A figure with more faults than this share of its requests is not a figure.
FAULTS = 0.001


class WrongAnswers(RuntimeError):
    """Under load a system gave other answers than it should: its figures would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many rounds, how long a turn, where generators may keep files, and whose faults do not end the
    run.
    """

    rounds: int
    seconds: float
    folder: Path
    foreign: frozenset[str] = frozenset()
    seed: int = 1


def run_contest(contest: Contest, systems: Mapping[str, System], record: Record, plan: Plan) -> None:
    """All rounds of one contest; systems that did not start are left out, foreign ones that fail drop out."""
    entries = [entry for entry in contest.entries if entry.system in systems]
    order = random.Random(f"{plan.seed} {contest.workload} {contest.variant}")
    for number in range(1, plan.rounds + 1):
        for entry in order.sample(entries, len(entries)):
            try:
                cell = _turn(contest, entry, systems[entry.system], number, plan)
            except WrongAnswers as fault:
                if entry.system not in plan.foreign:
                    raise
                print(f"{entry.system} drops out: {fault}", file=sys.stderr)
                entries.remove(entry)
                continue
            record.add(cell)
            _tell(cell, contest)


def _turn(contest: Contest, entry: Entry, system: System, number: int, plan: Plan) -> Cell:
    target = system.target(entry.route, entry.script)
    if target is None:
        raise WrongAnswers(f"{system.name} has no answer for {contest.workload} {contest.variant}")
    body = payload.chat(target.model, contest.shape)
    seconds = contest.seconds or plan.seconds
    drive(contest, target, body, WARM_UP_SECONDS, plan.folder)
    cpu = settle(system)
    core = read_core(LOAD_CORE)
    load = drive(contest, target, body, seconds, plan.folder)
    busy, stolen = read_core(LOAD_CORE).since(core)
    resident = resident_kib(family(system.pids()))
    # What a foreign system does after its load is left out, in its favour: a slow one would be charged for
    # the requests that were in flight at the end, which are not counted as completed.
    after = read_cpu(family(system.pids())) if system.name in plan.foreign else settle(system)
    spent = after.since(cpu)
    units = load.events if contest.per_event else load.requests
    unexpected = load.broken + (load.requests - load.refused if contest.refusals else load.refused)
    if contest.refusals and system.name == "nginx":  # it only marks drift there, with ordinary answers
        unexpected = load.broken + load.refused
    if units == 0 or unexpected > FAULTS * load.requests:
        raise WrongAnswers(f"{contest.workload} {contest.variant} {system.name}: {unexpected} faults; {load}")
    return Cell(
        workload=contest.workload,
        variant=contest.variant,
        system=system.name,
        round=number,
        units=units,
        seconds=load.seconds,
        cpu_ns=sum(spent.values()),
        ledger_ns=sum(value for name, value in spent.items() if name.startswith(LEDGER_THREAD)),
        resident_kib=resident,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        added_p50_us=load.added_p50_us,
        added_p99_us=load.added_p99_us,
        unexpected=unexpected,
        generator_busy=round(busy, 3),
        stolen=round(stolen, 4),
    )


def settle(system: System) -> CpuReading:
    """Wait until the system is at rest; returns its CPU account then."""
    deadline = time.monotonic() + SETTLE_LIMIT_SECONDS
    before = read_cpu(family(system.pids()))
    while True:
        time.sleep(SETTLE_WINDOW_SECONDS)
        now = read_cpu(family(system.pids()))
        used = sum(now.since(before).values()) / 1e9
        if used < SETTLED_SHARE * SETTLE_WINDOW_SECONDS or time.monotonic() > deadline:
            return now
        before = now


def drive(contest: Contest, target: Target, body: bytes, seconds: float, folder: Path) -> Load:
    """Let the generator that the contest's load needs send the body."""
    if isinstance(contest.load, ClosedLoop):
        return wrk.drive(target, body, contest.load, seconds, folder)
    return generator.drive(target, body, contest.load, seconds, folder)


def _tell(cell: Cell, contest: Contest) -> None:
    unit = "event" if contest.per_event else "request"
    name = f"{cell.workload} {cell.variant}".strip()
    added = f", added p99 {cell.added_p99_us:.0f} µs" if cell.added_p99_us is not None else ""
    print(
        f"{name:10} round {cell.round} {cell.system:14} {cell.metric('cpu') or 0:9.2f} µs/{unit}"
        f" {cell.metric('rate') or 0:9.0f}/s p99 {cell.p99_us:8.0f} µs{added}",
        file=sys.stderr,
        flush=True,
    )
