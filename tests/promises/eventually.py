"""`until` for tests with clients in an event loop: those go on while it polls."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """The first truthy result of `look`, which runs in a thread. AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := await asyncio.to_thread(look)):
        assert time.monotonic() < end, f"not within {seconds} s: {what}; last result: {found!r}"
        await asyncio.sleep(0.005)
    return found
