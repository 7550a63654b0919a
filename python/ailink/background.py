"""Tasks that run beside the requests, and how they end."""

import asyncio
import random
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.25


def goes_on() -> bool:
    """Whether the current task is to go on: the condition of every loop that `end` ends.

    A library may swallow a cancellation (`asyncio.wait_for` does before Python 3.12 if what it waits for is
    there in the same moment, and redis-py sends through it), but that the task was to end is remembered.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels them and returns when the last has ended. What one raises does not come through.

    One cancellation is not always enough (see `goes_on`). Each comes after another pause than the one before:
    a task that does the same thing at equal intervals might swallow all that come at such intervals.
    """
    running, pause = set(tasks), AGAIN_S
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=pause)
        pause = AGAIN_S * (0.1 + 0.9 * random.random())
