"""Asks strategies written in Python, again and again, and gives the data plane what they say.

No request waits for one: requests go by the latest weights. These hold for three turns; then what the
configuration names in its place takes over, until it answers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ailink.background import end, goes_on
from ailink.config.routing import CustomStrategy
from ailink.config.schema import Config
from ailink.plugins.host import custom_strategies, of_model
from ailink.plugins.runner import Runner
from ailink.plugins.strategy import Place
from ailink.snapshot.model import Deployment

log = logging.getLogger(__name__)

TURNS = 3
PICO = 1e12
WEIGHTS = dict[str, float]


class WeighedPlane(Protocol):
    """The part of the data plane that this module uses."""

    def deployment_health(self) -> bytes: ...
    def give_weights(self, weights: bytes) -> None: ...


class Weighing:
    """`find`: what runs under a name; `deployments`: those in force; `count`: model and result of a turn."""

    def __init__(
        self,
        plane: WeighedPlane,
        find: Callable[[str], Runner | None],
        deployments: Callable[[], Sequence[Deployment]],
        count: Callable[[str, str], None],
    ) -> None:
        self._plane = plane
        self._find = find
        self._deployments = deployments
        self._count = count
        self._tasks: dict[str, tuple[CustomStrategy, asyncio.Task[None]]] = {}

    def use(self, config: Config) -> None:
        """Begins and ends with what the configuration names."""
        wanted = custom_strategies(config)
        for model, (rules, task) in list(self._tasks.items()):
            if wanted.get(model) != rules:
                task.cancel()
                del self._tasks[model]
        for model, rules in wanted.items():
            if model not in self._tasks:
                self._tasks[model] = (rules, asyncio.create_task(self._run(model, rules)))

    async def stop(self) -> None:
        """Ends all."""
        await end(task for _, task in self._tasks.values())

    async def _run(self, model: str, rules: CustomStrategy) -> None:
        good = True
        while goes_on():
            try:
                await self._turn(model, rules)
                if not good:
                    log.info("the strategy %s of model %s answers again", rules.plugin, model)
                good = True
                self._count(model, "ok")
            except TimeoutError:
                self._failed(model, rules, "late", f"no answer within {int(rules.timeout)} ms", good)
                good = False
            except Exception as error:  # noqa: BLE001  # whatever a plugin raises
                self._failed(model, rules, "failed", f"{type(error).__name__}: {error}", good)
                good = False
            await asyncio.sleep(int(rules.every) / 1000)

    def _failed(self, model: str, rules: CustomStrategy, result: str, why: str, first: bool) -> None:
        self._count(model, result)
        if first:
            text = "the strategy %s of model %s: %s; `%s` takes over when its last weights are too old"
            log.error(text, rules.plugin, model, why, rules.otherwise)

    async def _turn(self, model: str, rules: CustomStrategy) -> None:
        runner = self._find(of_model(model))
        if runner is None:
            return
        rows = msgspec.msgpack.decode(self._plane.deployment_health(), type=list[dict[str, Any]])
        places = [row for row in rows if row["model"] == model]
        known = {deployment.id: deployment for deployment in self._deployments()}
        told = [place(row, known) for row in places if row["deployment"] in known]
        given = await asyncio.wait_for(runner.call("weights", model, told), int(rules.timeout) / 1000)
        weights = msgspec.convert(given, WEIGHTS)
        if unknown := weights.keys() - {one.id for one in told}:
            raise ValueError(f"there is no deployment {min(unknown)!r}")
        holds = TURNS * (int(rules.every) + int(rules.timeout))
        every = [(one.id, weights.get(one.id, 0.0)) for one in told]
        self._plane.give_weights(msgspec.msgpack.encode({"weights": every, "for_ms": holds}))


def place(row: Mapping[str, Any], known: Mapping[str, Deployment]) -> Place:
    """A row of the data plane's health, with what the configuration says."""
    deployment = known[row["deployment"]]
    rates = deployment.price.rates if deployment.price else None

    def dollars(pico: int | None) -> float | None:
        return None if pico is None else pico / PICO

    return Place(
        id=deployment.id,
        provider=deployment.provider,
        model=deployment.model,
        state=row["state"],
        weight=deployment.weight,
        in_flight=row["in_flight"],
        requests=row["requests"],
        failures=row["failures"],
        first_byte_ms=row["first_byte_ms"],
        ms_per_token=row["ms_per_token"],
        input_price=dollars(rates.input if rates else None),
        output_price=dollars(rates.output if rates else None),
    )
