"""What goes on beside the requests goes on, whatever happens to it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from ailink.admin import follower, upkeep
from ailink.admin.follower import Follower
from ailink.admin.upkeep import Upkeep
from ailink.store.database import UnavailableError
from ailink.store.postgres import _translated


@pytest.mark.parametrize("make", [Follower, Upkeep])
async def test_nothing_that_once_raises_ends_the_task(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "EVERY_S", 0)
    monkeypatch.setattr(upkeep, "EVERY_SECONDS", 0)
    again = asyncio.Event()
    raised = [KeyError("of a library"), asyncpg.InternalClientError("cannot switch to state 15")]

    async def once(_: Any) -> None:
        if raised:
            raise raised.pop()
        again.set()

    monkeypatch.setattr(make, "once", once)
    task = object.__new__(make)
    task._failing = False
    task._task = asyncio.create_task(task._run())
    await asyncio.wait_for(again.wait(), 5)
    await task.stop()


def test_a_connection_that_is_lost_in_the_middle_is_no_answer() -> None:
    error = _translated(
        asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress")
    )
    assert isinstance(error, UnavailableError)
