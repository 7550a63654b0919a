"""What is wrong with conditions and saved config objects; the data plane that runs them says it."""

from collections.abc import Iterator, Sequence, Set

from ailink import _core
from ailink.config.problems import Path, did_you_mean
from ailink.config.routing import ModelRouting, Routing
from ailink.config.schema import Model


def condition_faults(path: Path, section: ModelRouting, models: Set[str]) -> Iterator[tuple[Path, str]]:
    """Place and message of each fault in `conditions`; `models`: names that requests may go to."""
    for index, rule in enumerate(section.conditions or ()):
        here: Path = (*path, "conditions", index)
        if (fault := _core.condition_fault(rule.when)) is not None:
            yield (*here, "when"), _said(fault)
        if rule.then not in models:
            yield (*here, "then"), f"unknown model `{rule.then}`{did_you_mean(rule.then, models)}"

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


def group_faults(path: Path, model: Model) -> Iterator[tuple[Path, str]]:
    """What is wrong with the groups of a model's deployments."""
    groups = {deployment.group for deployment in model.deployments if deployment.group is not None}
    if model.group is not None and model.group not in groups:
        hint = did_you_mean(model.group, groups)
        yield (*path, "group"), f"no deployment is of the group `{model.group}`{hint}"


def config_faults(path: Path, section: Routing) -> Iterator[tuple[Path, str]]:
    """Place and message of each fault in `configs`."""
    for name, text in section.configs.items():
        if (fault := _core.config_fault(text)) is not None:
            yield (*path, "configs", name), _said(fault)


def _said(fault: tuple[str, str]) -> str:
    where, message = fault
    return f"{where}: {message}" if where else message
