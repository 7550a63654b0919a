"""Groups of a model's deployments, of which one serves at a time: blue and green."""

from collections.abc import Mapping

from ailink.config.schema import Deployment, Model


def groups_of(model: Model) -> tuple[str, ...]:
    """Their names, in the order of the file."""
    return tuple(dict.fromkeys(d.group for d in model.deployments if d.group is not None))


def serving(model: Model, switched: Mapping[str, str]) -> str | None:
    """The group that serves. `switched`: by model, where it was switched; one that is gone does not count."""
    groups = groups_of(model)
    found = switched.get(model.name)
    if found in groups:
        return found
    return model.group or next(iter(groups), None)


def serves(deployment: Deployment, group: str | None) -> bool:
    return deployment.group is None or deployment.group == group
