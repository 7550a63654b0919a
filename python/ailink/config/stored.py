"""Models, providers and limits that were made through the API, read with the words of the file and put beside
it.

The file wins: what does not fit it any more is left out, and said so. Variables of the environment are the
file's alone: whoever may add a model here may not read the environment through it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ailink.config import limit_words, litellm, yaml12
from ailink.config.checks import Context, check
from ailink.config.deployments import PlacementError, provider_row
from ailink.config.limits import Budget
from ailink.config.litellm_models import ENV_PREFIX
from ailink.config.problems import ConfigError, Path, Place, Problem
from ailink.config.reader import Reader
from ailink.config.schema import Config, Deployment, Model, Provider
from ailink.providers import Registry

HERE = Place(file="the API")
CREDENTIAL = "litellm_credential_name"
# Read from `model_info`; the rest of it says something to people.
INFO = frozenset({"mode"})
# Places in what is converted: the number of an object, or those of a group and of an object in it.
OF_LIST = re.compile(r"model_list\[(\d+)\]\.?(.*)")
OF_GROUP = re.compile(r"models\[(\d+)\](?:\.deployments\[(\d+)\])?\.?(.*)")


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment in LiteLLM's words, secrets included."""

    id: str
    name: str
    params: Mapping[str, Any]
    info: Mapping[str, Any] = {}
    public_only: bool = False


class StoredProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider in the words of the file, secrets included."""

    id: str
    name: str
    body: Mapping[str, Any]


class StoredLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit or budget in the words of the file, but for `on`."""

    id: str
    on: str
    words: Mapping[str, Any]


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """In the order in which they were made."""

    models: Sequence[StoredModel] = ()
    providers: Sequence[StoredProvider] = ()
    limits: Sequence[StoredLimit] = ()

    def __len__(self) -> int:
        return len(self.models) + len(self.providers) + len(self.limits)

    def without(self, id: str) -> Stored:
        return Stored(
            models=[one for one in self.models if one.id != id],
            providers=[one for one in self.providers if one.id != id],
            limits=[one for one in self.limits if one.id != id],
        )


class StoredFault(Exception):
    """One object that cannot be used. `path`: where in it."""

    def __init__(self, id: str, path: str, message: str) -> None:
        self.id = id
        self.path = path
        super().__init__(message)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What objects are read against."""

    registry: Registry
    env: Mapping[str, str]


def with_stored(config: Config, stored: Stored, around: Surroundings) -> Config:
    """The file's configuration with all of them. Raises StoredFault for the first that cannot be used."""
    if not len(stored):
        return config
    config = _with_providers(config, stored.providers)
    merged = _with_models(config, stored.models, _with_own(config, around.registry))
    _checked(merged, stored, around)
    return _with_limits(merged, stored.limits)


def with_usable(config: Config, stored: Stored, around: Surroundings) -> tuple[Config, list[StoredFault]]:
    """The same with those that can be used, and what is wrong with the others."""
    faults: list[StoredFault] = []
    while True:
        try:
            return with_stored(config, stored, around), faults
        except StoredFault as fault:
            left = stored.without(fault.id)
            if len(left) == len(stored):
                raise  # nobody's fault alone
            stored = left
            faults.append(fault)


def _with_providers(config: Config, providers: Iterable[StoredProvider]) -> Config:
    merged = dict(config.providers)
    for stored in providers:
        if stored.name in config.providers:
            text = f"the provider `{stored.name}` stands in the configuration file; change it there"
            raise StoredFault(stored.id, "name", text)
        for word in ("plugin", "options"):
            if word in stored.body:
                raise StoredFault(stored.id, word, f"`{word}` is code, which only the file may name")
        _no_references(stored.id, "", stored.body)
        reader = Reader({})
        node = _node(stored.id, stored.body)
        provider = reader.read(node, Provider, ())
        for problem in reader.problems:
            raise StoredFault(stored.id, problem.path, problem.message)
        merged[stored.name] = provider
    return msgspec.structs.replace(config, providers=merged)


def _with_limits(config: Config, stored: Sequence[StoredLimit]) -> Config:
    models = {name for model in config.models for name in (model.name, *model.aliases)}
    limits, budgets = list(config.limits), list(config.budgets.rules)
    for one in stored:
        try:
            found = limit_words.read({**one.words, "on": one.on}, models)
        except limit_words.LimitFault as fault:
            raise StoredFault(one.id, fault.path, str(fault)) from fault
        if isinstance(found, Budget):
            budgets.append(found)
        else:
            limits.append(found)
    rules = msgspec.structs.replace(config.budgets, rules=tuple(budgets))
    return msgspec.structs.replace(config, limits=tuple(limits), budgets=rules)


def _with_own(config: Config, registry: Registry) -> Registry:
    """The catalogue with what the configuration says of its providers, and with those it does not have."""
    rows = []
    for name in config.providers:
        # One that is not whole is reported by the checks.
        with contextlib.suppress(PlacementError):
            rows.append(provider_row(name, config, registry))
    return Registry([*registry, *rows]) if rows else registry


def _with_models(config: Config, stored: Sequence[StoredModel], registry: Registry) -> Config:
    if not stored:
        return config
    places = {alias: model.name for model in config.models for alias in model.aliases}
    for one in stored:
        if one.name in places:
            text = f"`{one.name}` is an alias of the model `{places[one.name]}` in the configuration file"
            raise StoredFault(one.id, "model_name", text)
    found = {model.name: model for model in _read(stored, registry)}
    models = []
    for model in config.models:
        more = found.pop(model.name, None)
        if more is not None and model.auto is not None:
            first = next(one for one in stored if one.name == model.name)
            text = f"the model `{model.name}` of the configuration file stands for others"
            raise StoredFault(first.id, "model_name", text)
        deployments = model.deployments if more is None else (*model.deployments, *more.deployments)
        models.append(msgspec.structs.replace(model, deployments=deployments))
    return msgspec.structs.replace(config, models=(*models, *found.values()))


def _read(stored: Sequence[StoredModel], registry: Registry) -> list[Model]:
    """The groups that these deployments make up."""
    by_id = {one.id: one for one in stored}
    items = []
    for one in stored:
        _no_references(one.id, "litellm_params", one.params)
        params = {
            name: value for name, value in one.params.items() if value is not None and name != CREDENTIAL
        }
        info = {name: value for name, value in one.info.items() if name in INFO} | {"id": one.id}
        items.append({"model_name": one.name, "litellm_params": params, "model_info": info})
    root = _node(stored[0].id, {"model_list": items})
    conversion = litellm.convert(root, registry, {})
    for note in conversion.notes:
        raise _fault(note, stored)
    reader = Reader({})
    config = reader.config(conversion.root, HERE)
    for problem in reader.problems:
        raise _fault(problem, stored)
    if config is None:
        raise StoredFault(stored[0].id, "", "cannot be read")
    return [
        msgspec.structs.replace(
            model, deployments=tuple(_finished(one, by_id[one.id or ""]) for one in model.deployments)
        )
        for model in config.models
    ]


def _finished(deployment: Deployment, stored: StoredModel) -> Deployment:
    """With what LiteLLM's words cannot say."""
    credential = stored.params.get(CREDENTIAL)
    if credential is not None and (not isinstance(credential, str) or not credential):
        raise StoredFault(stored.id, f"litellm_params.{CREDENTIAL}", "expected the name of a credential")
    return msgspec.structs.replace(
        deployment, public_only=stored.public_only, credential=credential or deployment.credential
    )


def _fault(problem: Problem, stored: Sequence[StoredModel]) -> StoredFault:
    """Whose it is: places are numbered in the order of the list."""
    if (at := OF_LIST.match(problem.path)) is not None:
        return StoredFault(stored[int(at[1])].id, at[2], problem.message)
    if (at := OF_GROUP.match(problem.path)) is not None:
        group = list(dict.fromkeys(one.name for one in stored))[int(at[1])]
        one = [one for one in stored if one.name == group][int(at[2] or 0)]
        return StoredFault(one.id, at[3], problem.message)
    return StoredFault(stored[0].id, problem.path, problem.message)


def _checked(config: Config, stored: Stored, around: Surroundings) -> None:
    """What a single object cannot show: taken ids, keys that are missing, providers that need more."""
    context = Context(registry=around.registry, env=around.env, locate=lambda path: HERE, converted=False)
    ids = {one.id for one in stored.models}
    for problem in check(config, context):
        if problem.severity == "error" and problem.path.startswith(("models", "providers")):
            raise _owner(problem, config, stored, ids)


def _owner(problem: Problem, config: Config, stored: Stored, ids: set[str]) -> StoredFault:
    for index, model in enumerate(config.models):
        for number, deployment in enumerate(model.deployments):
            place = f"models[{index}].deployments[{number}]"
            if problem.path.startswith(place) and deployment.id in ids:
                rest = problem.path.removeprefix(place).removeprefix(".")
                return StoredFault(deployment.id or "", rest, problem.message)
    for provider in stored.providers:
        if problem.path.startswith((f"providers.{provider.name}", f'providers["{provider.name}"]')):
            rest = problem.path.rpartition(provider.name)[2].removeprefix('"]').removeprefix(".")
            return StoredFault(provider.id, rest, problem.message)
    return StoredFault("", problem.path, problem.message)


def _node(id: str, value: Mapping[str, Any]) -> yaml12.Mapping:
    try:
        node = yaml12.compose(json.dumps(value).encode(), "the API")
    except ConfigError as error:
        raise StoredFault(id, "", str(error)) from error
    if not isinstance(node, yaml12.Mapping):
        raise StoredFault(id, "", "expected a mapping")
    return node


def _no_references(id: str, path: str, value: Any) -> None:
    """Raises StoredFault for text that would be filled in from the environment."""
    if isinstance(value, str) and (value.startswith(ENV_PREFIX) or "${" in value):
        text = "variables of the environment are named in the configuration file only; send the value itself"
        raise StoredFault(id, path, text)
    parts: Iterable[tuple[Path, Any]] = ()
    if isinstance(value, Mapping):
        parts = [((str(key),), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [((index,), part) for index, part in enumerate(value)]
    for (key,), part in parts:
        here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".removeprefix(".")
        _no_references(id, here, part)
