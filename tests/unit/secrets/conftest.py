"""A database with the schema of this version, in a file of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ailink import store
from ailink.store import migrate
from ailink.store.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await store.open("sqlite:///test.db", tmp_path)
    await migrate.apply(opened)
    yield opened
    await opened.close()
