"""What the kernel tells: on-CPU nanoseconds, memory and idle time, and which machine this is."""

import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GATEWAY_CORE = 0
LOAD_CORE = 1
ROOT = Path(__file__).resolve().parents[2]


class Unmeasurable(RuntimeError):
    """This machine cannot be measured on: too few cores, or a kernel without schedstat."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and on what a run was measured."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    commit: str
    dirty: bool


def describe() -> Machine:
    """This machine and the commit that stands here."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    total = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return Machine(
        cpu=model,
        cores=os.cpu_count() or 1,
        memory_gib=round(total / 2**20, 1),
        kernel=platform.release(),
        commit=_git("rev-parse", "--short=12", "HEAD"),
        dirty=bool(_git("status", "--porcelain", "--untracked-files=no")),
    )


def require_measurable() -> None:
    """Raise `Unmeasurable` unless there are two cores to pin to and a schedstat to read."""
    available = os.sched_getaffinity(0)
    if not {GATEWAY_CORE, LOAD_CORE} <= available:
        raise Unmeasurable(
            f"needs cores {GATEWAY_CORE} and {LOAD_CORE}; this process may use {sorted(available)}"
        )
    if not Path("/proc/self/schedstat").exists():
        raise Unmeasurable("the kernel has no /proc/PID/schedstat (CONFIG_SCHED_INFO)")


def family(pids: Iterable[int]) -> list[int]:
    """The processes and all their descendants that live now."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command name may hold spaces and brackets; the parent is the second field after it.
                children[int((entry / "stat").read_text().rpartition(")")[2].split()[1])].append(
                    int(entry.name)
                )
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: list[int] = []
    todo = list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.append(pid)
            todo += children[pid]
    return found


@dataclass(frozen=True)
class CpuReading:
    """On-CPU nanoseconds so far, by thread (process, thread) and name of the thread."""

    threads: dict[tuple[int, int], tuple[str, int]]

    def since(self, before: "CpuReading") -> dict[str, int]:
        """Nanoseconds spent since an earlier reading, summed by thread name."""
        spent: dict[str, int] = defaultdict(int)
        for thread, (name, total) in self.threads.items():
            spent[name] += total - before.threads.get(thread, (name, 0))[1]
        return dict(spent)


def read_cpu(pids: Iterable[int]) -> CpuReading:
    """Read the scheduler's account of every thread of these processes."""
    threads = {}
    for pid in pids:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                spent = int((task / "schedstat").read_text().split()[0])
                threads[pid, int(task.name)] = ((task / "comm").read_text().strip(), spent)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return CpuReading(threads)


def resident_kib(pids: Iterable[int]) -> int:
    """Resident memory of the processes together, KiB; pages that several share count for each."""
    total = 0
    for pid in pids:
        try:
            lines = _lines(f"/proc/{pid}/status")
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
    return total


@dataclass(frozen=True)
class CoreReading:
    """Ticks of one core so far."""

    busy: int
    stolen: int
    total: int

    def since(self, before: "CoreReading") -> tuple[float, float]:
        """Fractions of the time since an earlier reading that the core was busy and stolen by the
        hypervisor.
        """
        total = max(1, self.total - before.total)
        return (self.busy - before.busy) / total, (self.stolen - before.stolen) / total


def read_core(core: int) -> CoreReading:
    """Read /proc/stat for one core."""
    fields = next(line.split()[1:9] for line in _lines("/proc/stat") if line.startswith(f"cpu{core} "))
    user, nice, system, idle, iowait, irq, softirq, stolen = map(int, fields)
    busy = user + nice + system + irq + softirq
    return CoreReading(busy, stolen, busy + idle + iowait + stolen)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
