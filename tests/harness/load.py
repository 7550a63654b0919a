"""Many requests at once, with threads. For correctness under concurrency; figures are the work of benches."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, Self, TypeVar

import httpx

# For clients that threads or tasks share. To keep to a limit, httpcore closes idle connections, among them
# one that it has just given to a waiting thread: encode/httpcore#1110.
UNBOUNDED: Final = httpx.Limits(max_connections=None, max_keepalive_connections=None)

T = TypeVar("T")
A = TypeVar("A")


def in_parallel(call: Callable[[A], T], arguments: Iterable[A], threads: int = 16) -> list[T]:
    """`call` of each argument, in order of the arguments. Raises what the first failed call raised."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, arguments))


class Background(Generic[T]):
    """Threads that repeat `call` while the block runs. `results` has what it returned, `errors` what it
    raised.

    with Background(lambda: client.get("/").status_code, threads=4) as load:
        ...
    assert load.errors == []
    """

    def __init__(self, call: Callable[[], T], threads: int = 4, pause: float = 0.0) -> None:
        self._call = call
        self._pause = pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self.results: list[T] = []
        self.errors: list[Exception] = []
        self.began = 0.0

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.results.append(self._call())
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shall see it
                self.errors.append(error)
            if self._pause:
                self._over.wait(self._pause)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
