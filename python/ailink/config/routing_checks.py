"""What is wrong with conditions and saved config objects; the data plane that runs them says it."""

from collections.abc import Iterator, Sequence, Set

from ailink import _core
from ailink.config.problems import Path, did_you_mean
from ailink.config.routing import ModelRouting, Routing
from ailink.config.schema import Model
from ailink.providers import service

MOST_BOUNDARIES = 64
"""Each is a bit in the data plane."""
LEAST_MS = 200
"""Deployments are not asked more often."""


def condition_faults(path: Path, section: ModelRouting, models: Set[str]) -> Iterator[tuple[Path, str]]:
    """Place and message of each fault in `conditions`; `models`: names that requests may go to."""
    for index, rule in enumerate(section.conditions or ()):
        here: Path = (*path, "conditions", index)
        if (fault := _core.condition_fault(rule.when)) is not None:
            yield (*here, "when"), _said(fault)
        if rule.then not in models:
            yield (*here, "then"), f"unknown model `{rule.then}`{did_you_mean(rule.then, models)}"

    for index, allowed in enumerate(section.service_tiers or ()):
        here = (*path, "service_tiers", index)
        if allowed.when is not None and (fault := _core.condition_fault(allowed.when)) is not None:
            yield (*here, "when"), _said(fault)
        if len(set(allowed.tiers)) < len(allowed.tiers):
            yield (*here, "tiers"), "one of them stands here twice"
    for index, other in enumerate(section.strategies or ()):
        if (fault := _core.condition_fault(other.when)) is not None:
            yield (*path, "strategies", index, "when"), _said(fault)
    for name in ("health_check", "engine", "custom"):
        one = getattr(section, name)
        if one is not None and one.every < LEAST_MS:
            yield (*path, name, "every"), "is shorter than 200ms"
        if one is not None and one.timeout <= 0:
            yield (*path, name, "timeout"), "must be positive"
    overload = section.overload
    if (overload.least or 0) > (overload.most or overload.least or 0):
        yield (*path, "overload", "most"), "is less than `least`"
    for index, prioritized in enumerate(overload.priorities or ()):
        if (fault := _core.condition_fault(prioritized.when)) is not None:
            yield (*path, "overload", "priorities", index, "when"), _said(fault)


def mirror_faults(
    path: Path, section: ModelRouting, models: Sequence[Model], names: Set[str]
) -> Iterator[tuple[Path, str]]:
    """What is wrong with a `mirror`; `names`: what models may be called."""
    if section.mirror is None:
        return
    target, here = section.mirror.model, (*path, "mirror", "model")
    if target not in names:
        yield here, f"unknown model `{target}`{did_you_mean(target, names)}"
    if any(model.auto is not None and target in (model.name, *model.aliases) for model in models):
        yield here, f"`{target}` stands for other models: name the one that is to be compared"


def group_faults(path: Path, model: Model, routing: Routing) -> Iterator[tuple[Path, str]]:
    """What is wrong with what a model's deployments must agree in; `routing`: of all models."""
    strategy = model.routing.strategy or routing.strategy
    if strategy == "custom" and not (model.routing.custom or routing.custom):
        yield (*path, "routing", "strategy"), "`custom` needs a section `custom` that names the class"
    only = routing.regions_only if model.routing.regions_only is None else model.routing.regions_only
    regions = routing.regions if model.routing.regions is None else model.routing.regions
    if only and model.deployments and not any(one.region in (regions or ()) for one in model.deployments):
        yield (*path, "routing", "regions_only"), "no deployment of the model is in one of its `regions`"
    tiers = {deployment.service_tier or service.USUAL for deployment in model.deployments}
    for index, rule in enumerate(model.routing.service_tiers or ()):
        for tier in rule.tiers if model.deployments else ():
            if tier not in tiers:
                here = (*path, "routing", "service_tiers", index, "tiers")
                yield here, f"no deployment has the service tier `{tier}`{did_you_mean(tier, tiers)}"
    groups = {deployment.group for deployment in model.deployments if deployment.group is not None}
    if model.group is not None and model.group not in groups:
        hint = did_you_mean(model.group, groups)
        yield (*path, "group"), f"no deployment is of the group `{model.group}`{hint}"


def config_faults(path: Path, section: Routing) -> Iterator[tuple[Path, str]]:
    """Place and message of each fault in `boundaries` and `configs`."""
    for index, boundary in enumerate(section.boundaries):
        here: Path = (*path, "boundaries", index)
        if boundary.when is not None and (fault := _core.boundary_fault(boundary.when)) is not None:
            yield (*here, "when"), _said(fault)
        if not boundary.regions and not boundary.zero_data_retention:
            yield here, "bounds nothing: give `regions` or `zero_data_retention: true`"
        if index == MOST_BOUNDARIES:
            yield here, f"more than {MOST_BOUNDARIES} boundaries"
    for name, text in section.configs.items():
        if (fault := _core.config_fault(text)) is not None:
            yield (*path, "configs", name), _said(fault)


def _said(fault: tuple[str, str]) -> str:
    where, message = fault
    return f"{where}: {message}" if where else message
