import asyncio
import contextlib
import itertools

import pytest

from ailink import background


async def test_a_task_that_swallows_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_S", 0.01)
    swallowed = asyncio.Event()

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        swallowed.set()
        await asyncio.sleep(60)

    async def broken() -> None:
        raise ValueError("its own affair")

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await background.end(tasks)
    assert swallowed.is_set()
    assert tasks[0].cancelled()
    assert isinstance(tasks[1].exception(), ValueError)


async def test_a_task_that_swallows_every_cancellation_at_equal_intervals_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `asyncio.wait_for` did before Python 3.12 with what came in the moment of an answer."""
    monkeypatch.setattr(background, "AGAIN_S", 0.01)
    rounds = 0

    async def rhythmic() -> None:
        nonlocal rounds
        while background.goes_on():
            rounds += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    task = asyncio.create_task(rhythmic())
    await asyncio.sleep(0)
    await asyncio.wait_for(background.end([task]), 5)
    assert task.done()
    assert not task.cancelled()
    assert rounds == 1


async def test_no_two_pauses_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_S", 0.02)
    loop = asyncio.get_running_loop()
    at: list[float] = []

    async def deaf() -> None:
        while len(at) < 6:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                at.append(loop.time())

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await background.end([task])
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len({round(pause, 4) for pause in pauses}) > 1


async def test_nothing_to_end() -> None:
    await background.end([])
