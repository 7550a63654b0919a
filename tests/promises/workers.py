"""Many cases over a few connections."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tests.promises.wire import Http1, Http2

WORKERS = 8

Case = Callable[[Http1 | Http2], Awaitable[None]]


async def by_workers(connect: Callable[[], Awaitable[Http1 | Http2]], cases: Iterable[Case]) -> int:
    """Runs cases on connections that are used again and again; how many ran."""
    waiting = iter(cases)
    count = 0

    async def work() -> None:
        nonlocal count
        async with await connect() as client:
            for case in waiting:
                await case(client)
                count += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
    return count
