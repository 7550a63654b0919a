"""The shell's services over a fake data plane, with a clock that the test sets."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.unit.admin.fake_plane import FakeConfig, FakePlane

from ailink import _core, store
from ailink.admin.call import Caller
from ailink.admin.services import ServiceOptions, Services, build
from ailink.observe.redaction import Redactor
from ailink.secrets.keyring import open_keyring
from ailink.store import migrate

MASTER_KEY = "sk-master-0123456789abcdef"
ENCRYPTION_KEY = base64.b64encode(bytes(range(32))).decode()
MASTER = Caller(role="admin", key_id="master", client_ip="192.0.2.1", request_id="req_1")
START_US = 1_790_000_000_000_000


class Gateway:
    """Services and what they stand on."""

    def __init__(self, services: Services, plane: FakePlane, config: FakeConfig, clock: list[int]) -> None:
        self.services = services
        self.plane = plane
        self.config = config
        self._clock = clock

    def pass_time(self, seconds: int) -> None:
        self._clock[0] += seconds * 1_000_000


@asynccontextmanager
async def gateway(
    data_dir: Path, *, loopback: bool = False, url: str = "sqlite:///ailink.db"
) -> AsyncIterator[Gateway]:
    plane, config, clock = FakePlane(), FakeConfig(), [START_US]
    database = await store.open(url, data_dir)
    try:
        await migrate.apply(database)
        keyring = await open_keyring(database, encryption_key=ENCRYPTION_KEY, data_dir=data_dir)
        services = build(
            ServiceOptions(
                database=database,
                keyring=keyring,
                plane=plane,
                config=config,
                master_key=MASTER_KEY,
                endpoints=_core.endpoints(),
                operations=("none", "chat", "embeddings"),
                outcomes=("success", "client_error", "rate_limited"),
                redactor=Redactor(),
                version="1.2.3",
                loopback=loopback,
                now_us=lambda: clock[0],
            )
        )
        yield Gateway(services, plane, config, clock)
    finally:
        await database.close()
        plane.close()
