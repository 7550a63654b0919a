"""What `ailink.yaml` may say about a model that stands for others: under a model's `auto`."""

from collections.abc import Iterator, Set
from typing import Annotated

from msgspec import Meta

from ailink.config.problems import Path, did_you_mean
from ailink.config.section import Strict

_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Percent = Annotated[int, Meta(ge=1, le=99)]


class Auto(Strict, frozen=True, kw_only=True):
    """Which of `models` a request goes to is decided by what it asks for."""

    models: tuple[_Name, ...]
    """From the simplest and cheapest to the best."""
    thresholds: tuple[_Percent, ...] | None = None
    """From this complexity on (0 to 100) the next model, one less than there are models; null: even steps."""
    router: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    """A router trained with `ailink router train`; while none is promoted, the rules decide."""
    record: Annotated[int, Meta(ge=0, le=100)] = 0
    """Of a hundred requests, so many are noted for training: numbers that describe the prompt, no words."""


def steps(auto: Auto) -> tuple[float, ...]:
    """The thresholds from 0 to 1, even ones where none are given."""
    if auto.thresholds is not None:
        return tuple(percent / 100 for percent in auto.thresholds)
    return tuple(step / len(auto.models) for step in range(1, len(auto.models)))


def auto_faults(
    name: str, auto: Auto, path: Path, models: Set[str], autos: Set[str]
) -> Iterator[tuple[Path, str]]:
    """Place and message of each fault. `autos`: models that stand for others themselves."""
    for index, target in enumerate(auto.models):
        if target == name or target in autos:
            yield (*path, "models", index), f"`{target}` stands for others itself"
        elif target not in models:
            yield (*path, "models", index), f"unknown model `{target}`{did_you_mean(target, models)}"
        elif target in auto.models[:index]:
            yield (*path, "models", index), f"`{target}` stands here twice"
    if not 2 <= len(auto.models) <= 32:
        yield (*path, "models"), "two to 32 models are needed"
    given = auto.thresholds
    if given is not None and len(given) + 1 != len(auto.models):
        yield (*path, "thresholds"), f"{len(auto.models) - 1} are needed: one between each two models"
    elif given is not None and list(given) != sorted(given):
        yield (*path, "thresholds"), "must ascend"
