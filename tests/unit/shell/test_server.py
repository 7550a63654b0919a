"""The embedded granian: start, stop, a stop that must not wait for ever, and what it leaves behind."""

import asyncio
import logging
import stat
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from ailink.shell.server import ServerError, ShellServer


@pytest.fixture
def socket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "shell.sock"


def mode(socket: Path) -> int | None:
    return stat.S_IMODE(socket.stat().st_mode) if socket.exists() else None


def leave(socket: Path) -> None:
    socket.touch()


class Held:
    """An application whose answer waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        await receive()
        gone = asyncio.ensure_future(receive())
        released = asyncio.create_task(self.release.wait())
        await asyncio.wait([gone, released], return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.left.set()
        released.cancel()
        gone.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


def client(socket: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(socket)), base_url="http://shell")


async def test_it_serves_until_it_is_stopped(socket: Path, caplog: pytest.LogCaptureFixture) -> None:
    app, server = Held(), ShellServer()
    app.release.set()
    await server.start(app, socket)
    assert mode(socket) == 0o600
    async with client(socket) as http:
        assert (await http.get("/")).text == "done"
    waiting = asyncio.create_task(server.wait())
    await server.stop(5)
    await waiting
    assert mode(socket) is None
    await server.stop(5)
    assert caplog.records == [], "nothing to say when all is well"
    with pytest.raises(httpx.ConnectError):
        async with client(socket) as http:
            await http.get("/")


async def test_a_running_request_finishes(socket: Path) -> None:
    app, server = Held(), ShellServer()
    await server.start(app, socket)
    async with client(socket) as http:
        request = asyncio.create_task(http.get("/"))
        await app.entered.wait()
        stopping = asyncio.create_task(server.stop(30))
        await asyncio.sleep(0)
        app.release.set()
        assert (await request).text == "done"
        await stopping


async def test_a_stop_does_not_wait_for_ever(socket: Path) -> None:
    app, server = Held(), ShellServer()
    await server.start(app, socket)
    async with client(socket) as http:
        request = asyncio.create_task(http.get("/"))
        await app.entered.wait()
        await server.stop(0.05)
        assert mode(socket) is None
        request.cancel()
        app.release.set()
        await asyncio.wait([request])


async def test_a_client_that_leaves_is_seen(socket: Path) -> None:
    app, server = Held(), ShellServer()
    await server.start(app, socket)
    async with client(socket) as http:
        request = asyncio.create_task(http.get("/"))
        await app.entered.wait()
        request.cancel()
        await asyncio.wait_for(app.left.wait(), 10)
    await server.stop(5)


async def test_a_socket_left_by_a_crash_is_replaced(socket: Path) -> None:
    leave(socket)
    app, server = Held(), ShellServer()
    app.release.set()
    await server.start(app, socket)
    async with client(socket) as http:
        assert (await http.get("/")).status_code == 200
    await server.stop(5)


async def test_what_cannot_start_says_so(tmp_path: Path, socket: Path) -> None:
    with pytest.raises(ServerError, match="too long for a Unix socket"):
        await ShellServer().start(Held(), tmp_path / ("x" * 120))
    with pytest.raises(ServerError, match="did not start on"):
        await ShellServer().start(Held(), socket.parent / "missing" / "shell.sock")
    with pytest.raises(ServerError, match="was not started"):
        await ShellServer().wait()


async def test_it_is_started_once(socket: Path) -> None:
    server = ShellServer()
    await server.start(Held(), socket)
    with pytest.raises(ServerError, match="running already"):
        await server.start(Held(), socket)
    await server.stop(5)


async def test_logging_is_left_as_it_was(socket: Path) -> None:
    root = logging.getLogger()
    handlers = root.handlers[:]
    server = ShellServer()
    await server.start(Held(), socket)
    assert root.handlers == handlers
    assert logging.getLogger("_granian").handlers == []
    await server.stop(5)
