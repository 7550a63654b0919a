"""Real servers for tests: PostgreSQL and Redis, on free ports, with directories of their own.

`scripts/tools.sh` installs them from Debian where they are missing and it may. Nothing needs to run
beforehand, and what runs here ends with the test run. `kill`, `start`, `child.freeze` and `child.thaw` are
for tests of outages; for a network that swallows everything put a `Relay` (tests/harness/relay.py) between.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import redis
from tests.harness.process import ROOT, Child, free_port
from tests.harness.until import until

# PostgreSQL refuses to run as root; Debian's package makes this user.
POSTGRES_USER = "postgres"


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def program(name: str) -> Path:
    """Where a server is, installed if need be. Fails loudly where it cannot be had."""
    for _ in range(2):
        found = shutil.which(name)
        places = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        if places:
            return places[-1]
        subprocess.run([ROOT / "scripts" / "tools.sh", name], check=True)
    raise AssertionError(f"{name} is not there, although scripts/tools.sh says so")


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class RedisServer:
    """Started when made. Use as a context manager, or call `close`. Keeps nothing over a `kill`."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = program("redis-server")
        self.child = Child("redis", [*options, *arguments], directory, {}, program=server)
        self.start()

    def start(self) -> Self:
        """Starts it (again), on the same port, empty."""
        self.child.start()
        self.child.alive_until(lambda: accepts(self.port), "Redis accepts")
        return self

    def size(self) -> int:
        """How many keys it holds."""
        with redis.Redis(port=self.port) as client:
            return int(client.dbsize())

    def kill(self) -> None:
        self.child.kill()

    def close(self) -> None:
        self.child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PostgresServer:
    """Started when made. Use as a context manager, or call `close`. What was committed survives a `kill`."""

    def __init__(self, *settings: str) -> None:
        """`settings`: `name=value` of postgresql.conf."""
        self.user = POSTGRES_USER if os.geteuid() == 0 else None
        # Not under pytest's directories: those are readable for their owner alone.
        self.directory = Path(tempfile.mkdtemp(prefix="ailink-postgres-"))
        initdb, server = program("initdb"), program("postgres")
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
        self.port = free_port()
        data = self.directory / "data"
        subprocess.run(
            [initdb, "--no-sync", "-A", "trust", "-U", "ailink", "-E", "UTF8", "--locale=C", "-D", data],
            user=self.user,
            group=self.user,
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            # A killed process loses nothing without it; only a machine would.
            "fsync": "off",
            "shared_buffers": "32MB",
            "max_connections": "120",
        } | dict(setting.split("=", 1) for setting in settings)
        options = [text for name, value in given.items() for text in ("-c", f"{name}={value}")]
        arguments = ["-D", str(data), *options]
        self.child = Child("postgres", arguments, self.directory, {}, program=server, user=self.user)
        self._databases = 0
        self.start()

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """The address of a database, through another port if there is a relay."""
        return f"postgresql://ailink@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> Self:
        """Starts it (again), on the same port."""
        # A killed postmaster leaves its children to notice by themselves; until then a new one refuses.
        (self.directory / "data" / "postmaster.pid").unlink(missing_ok=True)
        self.child.start()
        self.child.alive_until(self._ready, "PostgreSQL is ready")
        return self

    def _ready(self) -> bool:
        return self._psql("SELECT 1", check=False).returncode == 0

    def kill(self) -> None:
        """`kill -9` of the server and of all its processes."""
        rest = [pid for pid in self.child.family() if pid != self.child.pid]
        # First the one that would replace its children, and begin to recover.
        self.child.kill()
        for pid in rest:
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
        # The shared memory is in use until the last of them is gone.
        until(lambda: not any(map(_lives, rest)), "PostgreSQL's processes are gone")

    def make_database(self) -> str:
        """The name of a new, empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def run(self, sql: str, database: str = "postgres") -> str:
        """What psql prints of a statement: rows by line, columns by `|`."""
        return self._psql(sql, database).stdout.strip()

    def _psql(
        self, sql: str, database: str = "postgres", *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = [
            str(program("psql")),
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            self.url(database),
            "-c",
            sql,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done

    def close(self) -> None:
        if self.child.running:
            self.child.thaw()
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
