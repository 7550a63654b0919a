"""Tasks that run beside the requests, and how they end."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.25


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels them and returns when the last has ended. What one raises does not come through.

    One cancellation is not always enough: a library may swallow it (redis-py does while it connects), and the
    task would run on for ever.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)
