"""Keeps what is in force equal to the configuration file.

Directories are watched, not files: editors replace a file by renaming, and Kubernetes swaps a symbolic link
beside it. A file that cannot be used changes nothing; its problems are kept for whoever asks.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from watchfiles import awatch

from ailink.config.loader import Loaded
from ailink.config.problems import ConfigError
from ailink.config.schema import Config

log = logging.getLogger(__name__)

# It says with every change how many there were; what became of them is said here.
logging.getLogger("watchfiles.main").setLevel(logging.WARNING)

DEBOUNCE_MS: Final = 500
STEP_MS: Final = 100
FIRST_LOOK_MS: Final = 1_000
RETRY_SECONDS: Final = 1.0

_LIVE_SERVER_KEYS: Final = frozenset({"keepalive_comment"})
_RESTART_KEYS: Final = ("data_dir", "master_key", "encryption_key", "database_url", "redis_url")


class ApplyError(Exception):
    """A configuration that reads well but cannot be put in force. `path`: where in what was changed."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, and what became of the last attempt to change it. JSON-ready, without secrets."""

    version: int
    source: str
    file: str | None
    digest: str
    loaded_at: int
    """Seconds since 1970."""
    errors: list[str]
    """Why the last attempt was not taken; empty if it was."""
    notes: list[str]
    restart_required: list[str]
    """Keys whose new values wait for a restart."""

    def plain(self) -> dict[str, Any]:
        """As a dictionary."""
        return msgspec.structs.asdict(self)


class Reloader:
    """`load` reads the file; `apply` puts a configuration in force and returns its version.

    `refresh` gives `apply` what changed besides the file. `apply` raises ApplyError where it cannot;
    then the former configuration stays.
    """

    def __init__(
        self,
        load: Callable[[], Loaded],
        apply: Callable[..., Awaitable[int]],
        changed: Callable[[Status], None],
    ) -> None:
        self._load = load
        self._apply = apply
        self._changed = changed
        self._lock = asyncio.Lock()
        self._first: Loaded | None = None
        self._current: Loaded | None = None
        self._status: Status | None = None

    @property
    def status(self) -> Status:
        """Raises RuntimeError before `start`."""
        if self._status is None:
            raise RuntimeError("no configuration is in force yet")
        return self._status

    async def start(self, loaded: Loaded) -> None:
        """Puts the first configuration in force. Raises ApplyError."""
        self._first = loaded
        await self._take(loaded)

    @property
    def current(self) -> Loaded:
        """What is in force. Raises RuntimeError before `start`."""
        if self._current is None:
            raise RuntimeError("no configuration is in force yet")
        return self._current

    async def refresh(self, *extra: object) -> None:
        """Puts the same file in force again, with what `apply` is given besides. Raises ApplyError."""
        async with self._lock:
            version = await self._apply(self.current, *extra)
            self._report(msgspec.structs.replace(self.status, version=version))

    async def reload(self) -> bool:
        """Reads the file again; whether what it says is in force now. The same problems are reported once."""
        async with self._lock:
            try:
                loaded = await asyncio.to_thread(self._load)
                if self._current is None or loaded.digest != self._current.digest:
                    await self._take(loaded)
                    log.info("configuration version %d is in force", self.status.version)
                elif self.status.errors:
                    self._report(msgspec.structs.replace(self.status, errors=[]))
                    log.info("the configuration file says again what is in force")
            except ConfigError as error:
                self._refuse([str(problem) for problem in error.problems if problem.severity == "error"])
                return False
            except ApplyError as error:
                self._refuse([str(error)])
                return False
            return True

    async def watch(self, stop: asyncio.Event) -> None:
        """Reloads on changes until `stop` is set."""
        while not stop.is_set() and (directories := self._directories()):
            try:
                await self._watch(directories, stop)
            except (OSError, RuntimeError) as error:
                # A directory that was removed: the file may come back with it.
                log.warning("cannot watch the configuration: %s", error)
                await _pause(stop)

    async def _watch(self, directories: set[Path], stop: asyncio.Event) -> None:
        """One run over a fixed set of directories; ends when the set has changed."""
        changes = awatch(
            *directories,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            recursive=False,
            rust_timeout=FIRST_LOOK_MS,
            yield_on_timeout=True,
        )
        # The first round comes without a change: it finds what was changed before the watch began.
        first = True
        async for found in changes:
            if found or first:
                first = False
                await self.reload()
                if self._directories() != directories:
                    return

    async def _take(self, loaded: Loaded) -> None:
        version = await self._apply(loaded)
        self._current = loaded
        for note in loaded.notes:
            log.warning("configuration: %s", note)
        waiting = [] if self._first is None else restart_required(self._first.config, loaded.config)
        if waiting:
            log.warning("these settings change at the next start: %s", ", ".join(waiting))
        self._report(
            Status(
                version=version,
                source=loaded.source,
                file=None if loaded.file is None else str(loaded.file),
                digest=loaded.digest[:16],
                loaded_at=int(time.time()),
                errors=[],
                notes=[str(note) for note in loaded.notes],
                restart_required=waiting,
            )
        )

    def _refuse(self, errors: list[str]) -> None:
        if errors == self.status.errors:
            return
        for error in errors:
            log.error("configuration not taken: %s", error)
        self._report(msgspec.structs.replace(self.status, errors=errors))

    def _report(self, status: Status) -> None:
        self._status = status
        self._changed(status)

    def _directories(self) -> set[Path]:
        """Where the files are, and where symbolic links among them point to."""
        if self._current is None:
            return set()
        files = self._current.files
        found = {file.parent.absolute() for file in files} | {file.resolve().parent for file in files}
        return {directory for directory in found if directory.is_dir()}


def restart_required(running: Config, wanted: Config) -> list[str]:
    """The keys that differ and are read at the start only."""
    differing = [name for name in _RESTART_KEYS if getattr(running, name) != getattr(wanted, name)]
    names = [name for name in running.server.__struct_fields__ if name not in _LIVE_SERVER_KEYS]
    changed = [name for name in names if getattr(running.server, name) != getattr(wanted.server, name)]
    return differing + [f"server.{name}" for name in changed]


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
    except TimeoutError:
        return
