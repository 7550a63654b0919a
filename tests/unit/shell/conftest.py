"""The shell over a fake data plane: behind a real granian on a real Unix socket, or called in process."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.unit.admin.gateway import MASTER, Gateway
from tests.unit.admin.gateway import gateway as make

from ailink.admin.key_fields import GenerateKey
from ailink.shell.app import create_app
from ailink.shell.server import ShellServer

DATABASES = ["sqlite", "postgresql"] if os.environ.get("AILINK_FULL") else ["sqlite"]
ADMIN = {
    "x-ailink-role": "admin",
    "x-ailink-key-id": "master",
    "x-ailink-request-id": "req_7",
    "x-ailink-client-ip": "::1",
}


def as_key(key_id: str) -> dict[str, str]:
    """What the front says of a caller with a virtual key."""
    return {"x-ailink-role": "key", "x-ailink-key-id": key_id}


async def mint(gateway: Gateway, **settings: object) -> tuple[str, dict[str, str]]:
    """A key, and the headers of a caller who uses it."""
    raw, record = await gateway.services.keys.create(MASTER, GenerateKey(**settings))  # type: ignore[arg-type]
    return raw, as_key(record.id)


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest) -> str:
    """SQLite; with AILINK_FULL=1 every test once more on PostgreSQL."""
    return "sqlite:///test.db" if request.param == "sqlite" else str(request.getfixturevalue("database_url"))


@pytest.fixture
async def gateway(tmp_path: Path, store_url: str) -> AsyncIterator[Gateway]:
    async with make(tmp_path, url=store_url) as made:
        yield made


@pytest.fixture
async def http(
    gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the private socket. It says itself who it is, as the front would."""
    socket = tmp_path_factory.mktemp("s") / "shell.sock"
    server = ShellServer()
    await server.start(create_app(gateway.services), socket)
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://shell") as client:
        yield client
    await server.stop(5)


@pytest.fixture
async def asgi(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """The same without a server, for tests with many requests."""
    transport = httpx.ASGITransport(create_app(gateway.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://shell") as client:
        yield client
