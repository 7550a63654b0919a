"""A database with the schema of this version, of each kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ailink import store
from ailink.store import migrate
from ailink.store.database import Database


@pytest.fixture
async def database(tmp_path: Path, store_url: str) -> AsyncIterator[Database]:
    opened = await store.open(store_url, tmp_path)
    await migrate.apply(opened)
    yield opened
    await opened.close()
