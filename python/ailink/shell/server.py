"""granian, embedded in the process's own event loop, on a private Unix socket."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.types import ASGIApp

from ailink.background import end

# A path in a Unix address has room for this many bytes.
LONGEST_PATH = 107
# Connections, not requests: the front keeps at most its `shell_in_flight`, and they must not wait for one
# another.
CONNECTIONS = 1_024
READY_POLL_S = 0.005
OWNER_ONLY = 0o600
EXPECTED = "Embedded server is experimental!"


class ServerError(Exception):
    """The server did not start, or ended by itself."""


class ShellServer:
    """One server; start it once."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: Path | None = None

    async def start(self, app: ASGIApp, socket_path: Path) -> None:
        """Serves `app` on `socket_path` (made anew, mode 0600); returns when connections are taken.

        Raises `ServerError`.
        """
        if self._task is not None:
            raise ServerError("the shell's server is running already")
        if len(bytes(socket_path)) > LONGEST_PATH:
            raise ServerError(
                f"{socket_path} is too long for a Unix socket ({LONGEST_PATH} bytes): shorten data_dir"
            )
        self._socket = socket_path
        self._server = _server(app, socket_path)
        self._task = asyncio.create_task(self._server.serve(), name="shell server")
        while not await _accepts(socket_path):
            if self._task.done():
                raise ServerError(
                    f"the shell's server did not start on {socket_path}"
                ) from self._task.exception()
            await asyncio.sleep(READY_POLL_S)

    async def wait(self) -> None:
        """Returns when the server was stopped. Raises `ServerError` when it ended by itself."""
        if self._task is None:
            raise ServerError("the shell's server was not started")
        await asyncio.wait([self._task])
        if self._server is not None:
            raise ServerError("the shell's server ended") from self._task.exception()

    async def stop(self, timeout_s: float) -> None:
        """Takes no more connections, lets running requests finish for `timeout_s`, then cuts them. Stopping
        twice is nothing.
        """
        server, task, socket_path = self._server, self._task, self._socket
        self._server = None
        if server is None or task is None or socket_path is None:
            return
        server.stop()  # type: ignore[no-untyped-call]
        done, _ = await asyncio.wait([task], timeout=timeout_s)
        if not done:
            for worker in server.wrks:
                worker.kill()  # type: ignore[no-untyped-call]
            await end([task])
        socket_path.unlink(missing_ok=True)


def _server(app: ASGIApp, socket_path: Path) -> Server:
    socket_path.unlink(missing_ok=True)
    server = Server(
        app,
        uds=socket_path,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        log_level=LogLevels.warning,
        # Its records go the way of all others instead of to a handler of its own.
        log_dictconfig={
            "formatters": {},
            "handlers": {},
            "loggers": {"_granian": {"handlers": [], "propagate": True}},
        },
    )
    server.uds_permissions = OWNER_ONLY
    logging.getLogger("_granian").addFilter(_news)
    return server


def _news(record: logging.LogRecord) -> bool:
    return record.msg != EXPECTED


async def _accepts(socket_path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(socket_path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    writer.close()
    await writer.wait_closed()
    return True
