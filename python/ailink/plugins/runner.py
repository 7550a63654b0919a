"""One provider or strategy and the thread that it runs in.

A thread of its own, because a call that blocks would hold up the shell and every other provider. The data
plane's time-outs end the wait for one that hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import Any, Final, TypeVar

from ailink.plugins.provider import Provider
from ailink.plugins.strategy import Strategy

T = TypeVar("T")
_END: Final = object()

# A provider that does not close by then is left to the end of the process.
CLOSE_SECONDS = 2.0
LOOK_SECONDS = 0.1


class PluginError(Exception):
    """The class cannot be used; the text is for the operator."""


Plugin = Provider | Strategy


def load(spec: str, base: type[Plugin] = Provider) -> type[Plugin]:
    """`module:Class` → the class, which is derived from `base`. Raises PluginError."""
    module, _, name = spec.partition(":")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise PluginError(
            f"`{spec}`: the module cannot be imported: {type(error).__name__}: {error}"
        ) from error
    made = getattr(found, name, None)
    if not (isinstance(made, type) and issubclass(made, base)):
        wanted = f"ailink.plugins.{base.__name__}"
        raise PluginError(f"`{spec}`: {module} has no class {name} derived from {wanted}")
    return made


class Runner:
    """A running provider or strategy."""

    def __init__(self, spec: str, options: Mapping[str, Any], base: type[Plugin] = Provider) -> None:
        """Raises PluginError."""
        self._calls = 0
        self._loop = asyncio.new_event_loop()
        self._plugin = self._made(spec, options, base)
        # A daemon: one that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"plugin {spec}", daemon=True)
        self._thread.start()

    @staticmethod
    def _made(spec: str, options: Mapping[str, Any], base: type[Plugin]) -> Plugin:
        kind = load(spec, base)
        try:
            return kind(options)
        except Exception as error:
            raise PluginError(f"`{spec}`: {type(error).__name__}: {error}") from error

    async def call(self, name: str, *given: Any) -> Any:
        """A call that answers at once. Raises what the plugin raises."""
        with self._counted():
            return await self._run(getattr(self._plugin, name)(*given))

    async def stream(self, request: Mapping[str, Any]) -> AsyncIterator[Any]:
        """A call that answers piece by piece: the next one is asked for when the last one was taken."""
        with self._counted():
            pieces = aiter(self._plugin.chat_stream(request))  # type: ignore[union-attr]
            try:
                while (piece := await self._run(_next(pieces))) is not _END:
                    yield piece
            finally:
                close = getattr(pieces, "aclose", None)
                if close is not None:
                    # Not awaited: what hangs does so in its own thread.
                    asyncio.run_coroutine_threadsafe(_quietly(close()), self._loop)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    async def stop(self, grace_s: float) -> None:
        """Lets calls finish for `grace_s`, closes the provider and ends its thread."""
        for _ in range(int(grace_s / LOOK_SECONDS)):
            if self._calls == 0:
                break
            await asyncio.sleep(LOOK_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._run(_quietly(self._plugin.close())), CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


async def _next(pieces: AsyncIterator[Any]) -> Any:
    """The next piece, or `_END`."""
    return await anext(pieces, _END)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    # Nobody is there to be told.
    with contextlib.suppress(Exception):
        await work
