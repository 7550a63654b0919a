"""One provider, strategy or guardrail and the thread that it runs in.

A thread of its own, because a call that blocks would hold up the shell and every other provider. The data
plane's time-outs end the wait for one that hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import itertools
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from ailink.plugins.guardrail import FunctionGuardrail, Guardrail
from ailink.plugins.provider import Provider
from ailink.plugins.strategy import Strategy

T = TypeVar("T")
_END: Final = object()

# A provider that does not close by then is left to the end of the process.
CLOSE_SECONDS = 2.0
LOOK_SECONDS = 0.1


class PluginError(Exception):
    """The class cannot be used; the text is for the operator."""


Plugin = Provider | Strategy | Guardrail

_numbers = itertools.count()


def load(spec: str, base: type[Plugin] = Provider) -> Callable[..., Any]:
    """`module:Class`, or `/path/to/file.py:Class` → the class, which is derived from `base`; of a guardrail,
    it may be a function. Raises PluginError.
    """
    module, _, name = spec.rpartition(":")
    found = _executed(Path(module)) if base is Guardrail else _imported(spec, module)
    made: Any = getattr(found, name, None)
    if isinstance(made, type) and issubclass(made, base):
        return made
    if base is Guardrail and inspect.isfunction(made):
        return made
    wanted = f"ailink.plugins.{base.__name__}"
    what = f"class {name} derived from {wanted}" + (" and no such function" if base is Guardrail else "")
    raise PluginError(f"`{spec}`: {module} has no {what}")


def _imported(spec: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise PluginError(
            f"`{spec}`: the module cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _executed(file: Path) -> ModuleType:
    """A file as a module of its own, read anew each time: what it was before goes on until it is replaced."""
    name = f"ailink_plugin_{next(_numbers)}_{file.stem}"
    module = ModuleType(name)
    module.__file__ = str(file)
    try:
        code = compile(file.read_bytes(), str(file), "exec")
        # Dataclasses look their module up.
        sys.modules[name] = module
        exec(code, module.__dict__)  # noqa: S102  # the operator's own file
    except SyntaxError as error:
        raise PluginError(f"{file}, line {error.lineno}: {type(error).__name__}: {error.msg}") from error
    except Exception as error:
        sys.modules.pop(name, None)
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file)]
        line = f", line {lines[-1]}" if lines else ""
        raise PluginError(f"{file}{line}: {type(error).__name__}: {error}") from error
    return module


class Runner:
    """A running provider, strategy or guardrail."""

    def __init__(self, spec: str, options: Mapping[str, Any], base: type[Plugin] = Provider) -> None:
        """Raises PluginError."""
        self._calls = 0
        self._plugin = self._made(spec, options, base)
        self._loop = asyncio.new_event_loop()
        # A daemon: one that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name=f"plugin {spec}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    @staticmethod
    def _made(spec: str, options: Mapping[str, Any], base: type[Plugin]) -> Plugin:
        kind = load(spec, base)
        try:
            return kind(options) if isinstance(kind, type) else FunctionGuardrail(kind)
        except Exception as error:
            raise PluginError(f"`{spec}`: {type(error).__name__}: {error}") from error

    async def call(self, name: str, *given: Any) -> Any:
        """A call that answers at once. Raises what the plugin raises."""
        with self._counted():
            return await self._run(getattr(self._plugin, name)(*given))

    async def work(self, work: Callable[[Plugin], Coroutine[Any, Any, T]]) -> T:
        """Work on the plugin, in its thread. Raises what it raises."""
        with self._counted():
            return await self._run(work(self._plugin))

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
        await asyncio.to_thread(self._thread.join, LOOK_SECONDS)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


async def _next(pieces: AsyncIterator[Any]) -> Any:
    """The next piece, or `_END`."""
    return await anext(pieces, _END)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    # Nobody is there to be told.
    with contextlib.suppress(Exception):
        await work
