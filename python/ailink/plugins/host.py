"""The providers and strategies that the configuration names, and the server that providers are reached by."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ailink.config.routing import CustomStrategy
from ailink.config.schema import Config
from ailink.plugins.app import PluginApp
from ailink.plugins.provider import Provider
from ailink.plugins.runner import Plugin, PluginError, Runner
from ailink.plugins.strategy import Strategy
from ailink.shell.server import ServerError, ShellServer

STOP_SECONDS = 5.0
# Calls of a provider that is replaced may take this long.
CALLS_SECONDS = 600.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A provider or strategy to be run."""

    spec: str
    options: Mapping[str, Any]
    base: type[Plugin] = Provider


def of_model(name: str) -> str:
    """What the strategy of a model runs as; no provider is called so."""
    return f"strategy {name}"


def _wanted(config: Config) -> dict[str, Wanted]:
    """The providers and strategies of a configuration that are written in Python."""
    found = {
        name: Wanted(spec=entry.plugin, options=_options(f"providers.{name}", entry.options))
        for name, entry in config.providers.items()
        if entry.plugin is not None
    }
    for model, rules in custom_strategies(config).items():
        options = _options("routing.custom", rules.options)
        found[of_model(model)] = Wanted(spec=rules.plugin, options=options, base=Strategy)
    return found


def custom_strategies(config: Config) -> dict[str, CustomStrategy]:
    """Those of one's own, by model."""
    found = {}
    for model in config.models:
        rules = model.routing.custom or config.routing.custom
        if rules is not None and (model.routing.strategy or config.routing.strategy) == "custom":
            found[model.name] = rules
    return found


def _options(path: str, tree: str | None) -> dict[str, Any]:
    try:
        return msgspec.json.decode((tree or "{}").encode(), type=dict[str, Any])
    except msgspec.DecodeError:
        raise PluginError(f"{path}.options: expected a mapping") from None


class PluginHost:
    """Nothing runs before the first provider is wanted."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._running: dict[str, tuple[Wanted, Runner]] = {}
        self._server: ShellServer | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def using(self, config: Config, file: Path | None) -> AsyncIterator[None]:
        """Starts what is new or changed. What is not wanted any more ends after the block, with its calls.
        Should the block fail, all is as before. Modules may stand beside the `file`. Raises PluginError.
        """
        wanted = _wanted(config)
        beside = str(Path.cwd() if file is None else file.parent)
        if wanted and beside not in sys.path:
            sys.path.append(beside)
        before = self._running
        fresh: dict[str, tuple[Wanted, Runner]] = {}
        try:
            for name, one in wanted.items():
                if name not in before or before[name][0] != one:
                    fresh[name] = (one, await asyncio.to_thread(Runner, one.spec, one.options, one.base))
            if any(one.base is Provider for one in wanted.values()) and self._server is None:
                server = ShellServer()
                await server.start(PluginApp(self.find), self.socket)
                self._server = server
            self._running = {**before, **fresh}
            yield
        except BaseException as error:
            self._running = before
            self._retire([runner for _, runner in fresh.values()])
            if isinstance(error, ServerError):
                raise PluginError(str(error)) from error
            raise
        self._running = {name: self._running[name] for name in wanted}
        self._retire([runner for name, (_, runner) in before.items() if name in fresh or name not in wanted])

    def _retire(self, runners: list[Runner]) -> None:
        for runner in runners:
            task = asyncio.create_task(runner.stop(CALLS_SECONDS))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def find(self, name: str) -> Runner | None:
        """What runs under a name."""
        found = self._running.get(name)
        return None if found is None else found[1]

    async def stop(self) -> None:
        """Ends the server, then the providers."""
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)
        for _, runner in self._running.values():
            await runner.stop(0.0)
