"""A real PgBouncer before a PostgreSQL: every transaction may go to another of a few server connections."""

import pwd
import shutil
import tempfile
from pathlib import Path
from typing import Self

from tests.harness.process import Child, free_port
from tests.harness.servers import PostgresServer, accepts, program

POOL = 3
"""Connections to the server, of all clients together."""
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=ailink

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
server_round_robin = 1
"""


class PgBouncer:
    """Started inside the `with` block, in transaction mode, with everything else as Debian has it."""

    def __init__(self, server: PostgresServer) -> None:
        self.port = free_port()
        # It refuses to run as root, as PostgreSQL does.
        self.directory = Path(tempfile.mkdtemp(prefix="ailink-pgbouncer-"))
        file = self.directory / "pgbouncer.ini"
        file.write_text(SETTINGS.format(server=server.port, port=self.port, pool=POOL))
        if server.user is not None:
            entry = pwd.getpwnam(server.user)
            shutil.chown(self.directory, entry.pw_uid, entry.pw_gid)
        self.child = Child(
            "pgbouncer", [str(file)], self.directory, {}, program=program("pgbouncer"), user=server.user
        )

    def __enter__(self) -> Self:
        self.child.start()
        self.child.alive_until(lambda: accepts(self.port), "PgBouncer accepts")
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
