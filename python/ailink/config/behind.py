"""Models that the file only names behind a `*`: a fallback `openai/gpt-4o` where there is a model `openai/*`.

What names another model needs one that is there from the start: each gets a model of its own, made of the
wildcard.
"""

from collections.abc import Iterator

import msgspec

from ailink.config.routing import ModelRouting
from ailink.config.schema import Config, Model


def plain_names(config: Config) -> set[str]:
    """What other models may name: all names and aliases without a `*`, and what is named behind one."""
    return _own(config) | {model.name for model in behind(config)}


def behind(config: Config) -> tuple[Model, ...]:
    """The models that are named somewhere, and that only a wildcard serves."""
    wildcards = [model for model in config.models if model.name.count("*") == 1]
    if not wildcards:
        return ()
    wildcards.sort(key=lambda model: len(model.name), reverse=True)
    own = _own(config)
    names = dict.fromkeys(name for name in _named(config) if name not in own and "*" not in name)
    return tuple(
        made
        for name in names
        if (made := next(filter(None, (_made(model, name) for model in wildcards)), None)) is not None
    )


def _own(config: Config) -> set[str]:
    models = [model for model in config.models if not model.is_wildcard]
    return {name for model in models for name in (model.name, *model.aliases)}


def _named(config: Config) -> Iterator[str]:
    yield from config.routing.default_fallbacks
    yield from _routed(config.routing)
    for model in config.models:
        for names in (
            model.fallbacks,
            model.context_window_fallbacks,
            model.content_policy_fallbacks,
            model.rate_limit_fallbacks,
            model.cost_fallbacks,
            () if model.auto is None else model.auto.models,
            () if model.replacement is None else (model.replacement,),
        ):
            yield from names
        yield from _routed(model.routing)


def _routed(routing: ModelRouting) -> Iterator[str]:
    yield from (rule.then for rule in routing.conditions or ())
    if routing.mirror is not None:
        yield routing.mirror.model


def _made(wildcard: Model, name: str) -> Model | None:
    head, _, tail = wildcard.name.partition("*")
    part = name[len(head) : len(name) - len(tail)]
    if not part or not (name.startswith(head) and name.endswith(tail)):
        return None
    deployments = tuple(
        msgspec.structs.replace(
            deployment, id=None, discover=False, model=(deployment.model or "*").replace("*", part)
        )
        for deployment in wildcard.deployments
    )
    return msgspec.structs.replace(wildcard, name=name, deployments=deployments, aliases=())
