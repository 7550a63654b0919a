"""What goes on beside the requests goes on, whatever happens to it."""

import asyncio

import asyncpg
import pytest

from ailink.admin import follower, upkeep
from ailink.admin.follower import Follower
from ailink.admin.upkeep import Upkeep
from ailink.store.database import UnavailableError
from ailink.store.postgres import _translated


async def test_nothing_that_once_raises_ends_the_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "EVERY_S", 0)
    again = asyncio.Event()
    raised = [KeyError("of a library"), asyncpg.InternalClientError("cannot switch to state 15")]

    async def once(_: Follower) -> None:
        if raised:
            raise raised.pop()
        again.set()

    monkeypatch.setattr(Follower, "once", once)
    task = object.__new__(Follower)
    task._failing = False
    task._task = asyncio.create_task(task._run())
    await asyncio.wait_for(again.wait(), 5)
    await task.stop()


async def test_a_step_of_upkeep_that_fails_keeps_no_other_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep, "EVERY_SECONDS", 0)
    behind, again = asyncio.Event(), asyncio.Event()
    raised = [KeyError("of a library"), asyncpg.InternalClientError("cannot switch to state 15")]

    async def fails() -> None:
        if raised:
            raise raised.pop()
        again.set()

    async def works() -> None:
        if raised:
            behind.set()

    monkeypatch.setattr(Upkeep, "_steps", lambda _: (("failing", fails), ("working", works)))
    task = asyncio.create_task(object.__new__(Upkeep)._run())
    await asyncio.wait_for(asyncio.gather(behind.wait(), again.wait()), 5)
    task.cancel()
    failures = [record for record in caplog.records if "upkeep: failing failed" in record.getMessage()]
    assert len(failures) == 2


def test_a_connection_that_is_lost_in_the_middle_is_no_answer() -> None:
    error = _translated(
        asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress")
    )
    assert isinstance(error, UnavailableError)
