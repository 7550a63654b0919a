"""Providers, strategies and guardrails that the configuration names, and the server that the data plane
reaches them by.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from ailink.config import python_checks
from ailink.config.routing import CustomStrategy
from ailink.config.schema import Config
from ailink.plugins.app import PluginApp
from ailink.plugins.guard_app import name_of
from ailink.plugins.guardrail import Guardrail
from ailink.plugins.provider import Provider
from ailink.plugins.runner import Plugin, PluginError, Runner
from ailink.plugins.strategy import Strategy
from ailink.shell.server import ServerError, ShellServer

STOP_SECONDS = 5.0
# Calls of a provider that is replaced may take this long.
CALLS_SECONDS = 600.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run. `digest`: of the file that it is in; `place`: who names it."""

    spec: str
    options: Mapping[str, Any]
    base: type[Plugin] = Provider
    digest: str = ""
    place: str = ""


def of_model(name: str) -> str:
    """What the strategy of a model runs as; no provider is called so."""
    return f"strategy {name}"


def _wanted(config: Config, directory: Path) -> dict[str, Wanted]:
    """What of a configuration in `directory` is written in Python."""
    found = {
        name: Wanted(spec=entry.plugin, options=_options(f"providers.{name}", entry.options))
        for name, entry in config.providers.items()
        if entry.plugin is not None
    }
    for model, rules in custom_strategies(config).items():
        options = _options("routing.custom", rules.options)
        found[of_model(model)] = Wanted(spec=rules.plugin, options=options, base=Strategy)
    for place in python_checks.found(config.guardrails):
        file = python_checks.located(place.check.file, directory)
        found[name_of(place.guardrail, place.at)] = Wanted(
            spec=f"{file}:{place.check.name}",
            options=place.check.options,
            base=Guardrail,
            digest=python_checks.digest(file),
            place=f"guardrails[{place.rule}].checks[{place.at}]",
        )
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


def _started(one: Wanted) -> Runner:
    """Raises PluginError."""
    try:
        return Runner(one.spec, one.options, one.base)
    except PluginError as error:
        raise PluginError(f"{one.place}: {error}" if one.place else str(error)) from error


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
        directory = Path.cwd() if file is None else file.parent.absolute()
        wanted = _wanted(config, directory)
        if wanted and str(directory) not in sys.path:
            sys.path.append(str(directory))
        before = self._running
        fresh: dict[str, tuple[Wanted, Runner]] = {}
        try:
            for name, one in wanted.items():
                if name not in before or before[name][0] != one:
                    fresh[name] = (one, await asyncio.to_thread(_started, one))
            if any(one.base is not Strategy for one in wanted.values()) and self._server is None:
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
