from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.admin.gateway import Gateway
from tests.unit.admin.gateway import gateway as make


@pytest.fixture
async def gateway(tmp_path: Path, store_url: str) -> AsyncIterator[Gateway]:
    async with make(tmp_path, url=store_url) as made:
        yield made
