"""Child processes of a test: output goes to a file, the end is certain, and failures show what was logged.

Only processes that were started here are ever signalled, each by its own handle.
"""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.harness.until import until

ROOT = Path(__file__).parents[2]
LOG_SHOWN = 8_000
# Below the range from which the kernel takes ports for outgoing connections, so that a port stays free
# between two starts of a process. Each worker of a run has a part of its own: none takes a port that another
# has just found free.
SHARES = 8
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
PORTS = range(18_000, 30_000)[WORKER::SHARES]

# For the report of a failed test; entries vanish with their children.
_children: "weakref.WeakSet[Child]" = weakref.WeakSet()


class Child:
    """One process. `log` has all it wrote, over all its starts."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        env: Mapping[str, str],
        *,
        program: Path | str = sys.executable,
        user: str | None = None,
    ) -> None:
        """`arguments` are those of `program`, which runs as `user` where one is named."""
        self.name = name
        self.program = str(program)
        self.user = user
        self.arguments = list(arguments)
        self.directory = directory
        self.env = dict(env)
        self.log_file = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        _children.add(self)

    def start(self) -> Self:
        """Starts it."""
        assert not self.running, f"{self.name} runs already"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AILINK_")}
        paths = [str(ROOT / "python"), str(ROOT), clean.get("PYTHONPATH", "")]
        clean["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, *self.arguments],
                cwd=self.directory,
                env=clean | self.env,
                user=self.user,
                group=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code; negative: ended by that signal; None: running or never started."""
        return None if self._process is None else self._process.poll()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code, once it ended by itself."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {seconds} s\n{self.log[-LOG_SHOWN:]}"
            ) from None

    def kill(self) -> None:
        """`kill -9`, and the end of it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """Stops it and all its descendants where they stand; `thaw` lets them go on."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: int) -> None:
        for pid in self.family():
            # A descendant may end meanwhile, as PostgreSQL's do.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def family(self) -> list[int]:
        """Its process id and those of all its descendants."""
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = stat.read_text()
                # The name, in parentheses, may hold anything.
                parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
        found = [self.pid]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def memory(self, *, peak: bool = False) -> int:
        """Resident bytes, now or at most so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:" if peak else "VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has no memory any more")

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def alive_until(self, condition: object, what: str, seconds: float = 20.0) -> None:
        """Polls `condition` and fails at once, with the log, when the process ends meanwhile."""
        assert callable(condition)

        def check() -> bool:
            if not self.running:
                raise AssertionError(f"{self.name} ended with {self.code} ({what})\n{self.log[-LOG_SHOWN:]}")
            return bool(condition())

        try:
            until(check, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-LOG_SHOWN:]}") from None


def recent_logs() -> list[tuple[str, str]]:
    """(name, end of the log) of every child that is still held by a test."""
    found = [(f"{child.name} {child.log_file}", child.log[-LOG_SHOWN:]) for child in list(_children)]
    return sorted((title, text) for title, text in found if text)


# One after the other, so that a process that was stopped finds its port free when it starts again.
_ports = itertools.cycle(PORTS)
for _ in range(int.from_bytes(os.urandom(2)) % len(PORTS)):
    next(_ports)


def free_port() -> int:
    """A loopback port that nothing is bound to and that this process did not ask for lately."""
    for port in itertools.islice(_ports, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")
