"""Clients that keep asking while something happens to the gateway.

The model of a client: it keeps its connection alive and sends the next request on it after a while (`think`),
unless the server said that it will close it (`Connection: close`, GOAWAY) or has closed it. It never repeats
a request, except one of which GOAWAY says that it was not processed. Whatever it gets that is not a whole,
right answer is a failure.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from tests.promises.eventually import eventually
from tests.promises.wire import Broken, Http1, Http2, Unprocessed, encoded

PROTOCOLS: dict[str, type[Http1] | type[Http2]] = {"http1": Http1, "http2": Http2}


class Request(NamedTuple):
    """What a caller asks for, again and again."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    expected: bytes
    """Ends every right answer, but for white space."""


class Callers:
    """The callers run inside the `async with` block; at its end they finish the request they are at."""

    def __init__(self, port: int, *, think: float, seed: int = 1) -> None:
        self.port = port
        self.failures: list[str] = []
        self.answered: Counter[str] = Counter()
        self.longest = 0.0
        self._think = think
        self._random = random.Random(seed)
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, count: int, protocol: str, request: Request) -> None:
        """`count` more callers."""
        self._tasks += [asyncio.ensure_future(self._call(protocol, request)) for _ in range(count)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    @property
    def total(self) -> int:
        return self.answered.total()

    async def more(self, count: int, seconds: float = 30.0) -> None:
        """Until so many more were answered, or one failed."""
        wanted = self.total + count
        await eventually(lambda: self.total >= wanted or self.failures, f"{count} more answers", seconds)

    async def _call(self, protocol: str, request: Request) -> None:
        client: Http1 | Http2 | None = None
        body = encoded(request.body)
        while not self._over:
            began = time.monotonic()
            try:
                if client is None or not client.reusable:
                    await self._close(client)
                    client = await PROTOCOLS[protocol].open(self.port)
                await client.post(request.path, body, request.headers)
                status = await client.head()
                answer = await client.rest()
            except Unprocessed:
                continue
            except (Broken, OSError, TimeoutError) as error:
                self.failures.append(f"{protocol} {request.path}: {type(error).__name__} {error}")
                await self._close(client)
                client = None
                continue
            self.longest = max(self.longest, time.monotonic() - began)
            if status == 200 and answer.rstrip().endswith(request.expected):
                self.answered[f"{protocol} {request.path}"] += 1
            else:
                self.failures.append(f"{protocol} {request.path}: {status} {answer[-300:]!r}")
            await asyncio.sleep(self._random.uniform(0, self._think))
        await self._close(client)

    async def _close(self, client: Http1 | Http2 | None) -> None:
        if client is not None:
            await client.__aexit__()
