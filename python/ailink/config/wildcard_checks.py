"""What is wrong with names that have a `*`, and with what is asked of servers behind them."""

from collections.abc import Iterator, Set

from ailink.config.problems import Path, did_you_mean
from ailink.config.schema import Deployment, Model


def name_faults(model: Model, path: Path) -> Iterator[tuple[Path, str]]:
    if not model.is_wildcard:
        return
    if model.name.count("*") > 1:
        yield (*path, "name"), "has more than one `*`"
    if model.auto is not None:
        yield (*path, "auto"), "a name with a `*` has deployments, and stands for no other models"
    for index, alias in enumerate(model.aliases):
        yield (*path, "aliases", index), f"`{alias}` cannot stand for a name with a `*`"


def replacement_faults(model: Model, path: Path, known: Set[str]) -> Iterator[tuple[Path, str]]:
    target, here = model.replacement, (*path, "replacement")
    if target is None:
        return
    if model.is_wildcard:
        yield here, "models behind a `*` end one by one: give the one that ends a name of its own"
    elif target in (model.name, *model.aliases):
        yield here, "is the model itself"
    elif target not in known:
        yield here, f"unknown model `{target}`{did_you_mean(target, known)}"


def wildcard_faults(model: Model, deployment: Deployment, path: Path) -> Iterator[tuple[Path, str]]:
    if model.is_wildcard and (deployment.model or "").count("*") > 1:
        yield (*path, "model"), "has more than one `*`"
    if not model.is_wildcard and deployment.model is not None and "*" in deployment.model:
        yield (*path, "model"), "a `*` needs one in the model's name"
    if not deployment.discover:
        return
    if not model.is_wildcard:
        yield (*path, "discover"), "needs a `*` in the model's name, such as `local/*`"
    elif deployment.model is not None and "*" not in deployment.model:
        yield (*path, "discover"), "needs a `*` in `model`, or no `model`"
    if deployment.credential is not None or deployment.identity is not None:
        yield (*path, "discover"), "asks with `api_key` or without a key, not with `credential` or `identity`"
    if deployment.public_only:
        yield (*path, "discover"), "is for whoever writes the file or is an administrator"
    if not deployment.discover_every:
        yield (*path, "discover_every"), "must be more than 0"
