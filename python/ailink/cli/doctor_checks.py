"""The checks of `ailink doctor`. Each looks at one thing and says what it found; none changes anything."""

import asyncio
import ctypes
import importlib
import platform
import resource
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ailink import __version__
from ailink.cli import client, migration, source
from ailink.config.loader import Loaded
from ailink.config.problems import ConfigError
from ailink.config.schema import Config
from ailink.providers import CatalogError

State = Literal["ok", "warning", "failed"]

LOW_DISK: Final = 1024**3
FULL_DISK: Final = 100 * 1024**2
DESCRIPTORS_BESIDE_CONNECTIONS: Final = 128
OLDEST_SENSIBLE_TIME: Final = 1_767_225_600
"""2026-01-01, before which this program did not exist."""
_TIME_ERROR: Final = 5
"""What adjtimex(2) returns for a clock that is not synchronized."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    name: str
    state: State
    text: str


def run(file: Path | None) -> list[Finding]:
    """All checks, in order."""
    return list(_findings(file))


def _findings(file: Path | None) -> Iterator[Finding]:
    yield python()
    yield extension()
    loaded, finding = configuration(file)
    yield finding
    if loaded is not None:
        yield data_dir(Path(loaded.config.data_dir))
        yield port(loaded.config)
        yield database(loaded.config)
        if loaded.config.redis_url is not None:
            yield shared(loaded.config.redis_url.reveal())
        yield disk(Path(loaded.config.data_dir))
        yield descriptors(loaded.config)
    yield clock()


def python() -> Finding:
    state: State = "ok" if sys.version_info >= (3, 11) else "failed"
    text = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
    return Finding(name="Python", state=state, text=text)


def extension() -> Finding:
    try:
        core = importlib.import_module("ailink._core")
    except ImportError as error:
        text = f"cannot be loaded ({error}); install a wheel, or build it with `make setup`"
        return Finding(name="extension", state="failed", text=text)
    found, profile = core.__version__, core.build_profile()
    if found != __version__:
        text = f"is version {found}, the Python part {__version__}; install them together"
        return Finding(name="extension", state="failed", text=text)
    if profile == "debug":
        return Finding(name="extension", state="warning", text=f"{found}, a debug build: many times slower")
    return Finding(name="extension", state="ok", text=f"{found}, {profile} build")


def configuration(file: Path | None) -> tuple[Loaded | None, Finding]:
    try:
        loaded = source.load(file)
    except CatalogError as error:
        return None, Finding(name="configuration", state="failed", text=str(error))
    except ConfigError as error:
        errors = [problem for problem in error.problems if problem.severity == "error"]
        text = f"{errors[0]}" + (f" (and {len(errors) - 1} more: ailink check)" if len(errors) > 1 else "")
        return None, Finding(name="configuration", state="failed", text=text)
    where = "built-in default" if loaded.file is None else str(loaded.file)
    text = f"{where}: {len(loaded.config.models)} models"
    if loaded.notes:
        return loaded, Finding(
            name="configuration", state="warning", text=f"{text}, {len(loaded.notes)} notes"
        )
    return loaded, Finding(name="configuration", state="ok", text=text)


def data_dir(path: Path) -> Finding:
    try:
        status = path.stat()
    except FileNotFoundError:
        return Finding(name="data directory", state="ok", text=f"{path} is made at the first start")
    except OSError as error:
        return Finding(name="data directory", state="failed", text=f"{path}: {error.strerror}")
    if not stat.S_ISDIR(status.st_mode):
        return Finding(name="data directory", state="failed", text=f"{path} is not a directory")
    exposed = [path] if status.st_mode & 0o077 else []
    exposed += [key for key in path.glob("*.key") if key.stat().st_mode & 0o077]
    if exposed:
        text = f"{exposed[0]} is open to others (mode {stat.S_IMODE(exposed[0].stat().st_mode):04o})"
        return Finding(name="data directory", state="failed", text=text)
    return Finding(name="data directory", state="ok", text=f"{path} is private")


def port(config: Config) -> Finding:
    server = config.server
    if server.port is None:
        return Finding(name="port", state="ok", text="no TCP listener is configured")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"{server.host}:{server.port}"
        if _is_ailink(config):
            return Finding(name="port", state="ok", text=f"{where} is served by a running AILink")
        return Finding(name="port", state="failed", text=f"{where} cannot be used: {error.strerror or error}")
    return Finding(name="port", state="ok", text=f"{server.host}:{server.port} is free")


def _is_ailink(config: Config) -> bool:
    try:
        to = client.Target(url=client.address(config), key="none")
        client.call(to, "GET", "/health/live")
    except client.ClientError:
        return False
    return True


def database(config: Config) -> Finding:
    try:
        status = migration.run(config, check_only=True)
    except migration.MigrateError as error:
        return Finding(name="database", state="failed", text=str(error))
    if not status.applied:
        return Finding(name="database", state="ok", text="is made at the first start")
    if status.pending:
        text = f"{len(status.pending)} migrations are applied at the next start"
        return Finding(name="database", state="warning", text=text)
    return Finding(name="database", state="ok", text=f"{len(status.applied)} migrations, none pending")


def shared(url: str) -> Finding:
    """Redis between nodes."""
    try:
        link = importlib.import_module("ailink.coordination.link")
    except ModuleNotFoundError as error:
        text = f"needs {error.name}: pip install 'ailink[redis]'"
        return Finding(name="Redis", state="failed", text=text)
    try:
        asyncio.run(_greeted(link, url))
    except link.AddressError as error:
        return Finding(name="Redis", state="failed", text=str(error))
    except link.TROUBLE as error:
        text = f"does not answer ({error}): requests go on, limits hold by each node's share of them"
        return Finding(name="Redis", state="warning", text=text)
    return Finding(name="Redis", state="ok", text="answers")


async def _greeted(link: Any, url: str) -> None:
    redis = link.connect(url)
    try:
        await link.run_id(redis)
    finally:
        await link.close(redis)


def disk(path: Path) -> Finding:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1024**3:.1f} GiB are free at {existing}"
    if free < FULL_DISK:
        return Finding(name="disk", state="failed", text=f"{text}: the ledger would refuse requests soon")
    return Finding(name="disk", state="warning" if free < LOW_DISK else "ok", text=text)


def descriptors(config: Config) -> Finding:
    """A client connection may need one upstream connection too."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = 2 * config.server.limits.connections + DESCRIPTORS_BESIDE_CONNECTIONS
    if hard != resource.RLIM_INFINITY and hard < needed:
        text = f"{hard} open files are allowed; {needed} are needed for `server.limits.connections`"
        return Finding(name="open files", state="warning", text=text)
    return Finding(name="open files", state="ok", text=f"{hard} are allowed, {needed} may be needed")


def clock() -> Finding:
    now = time.time()
    if now < OLDEST_SENSIBLE_TIME:
        text = f"is set to {time.strftime('%Y-%m-%d', time.gmtime(now))}"
        return Finding(name="clock", state="failed", text=text)
    # struct timex has at most 208 bytes; all zero asks without setting.
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    if state == _TIME_ERROR:
        return Finding(name="clock", state="warning", text="is not synchronized, as far as the kernel knows")
    return Finding(name="clock", state="ok", text=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))
