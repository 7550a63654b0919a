"""Names that policies use must exist, and the data plane must be able to compile them; it says where not."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from ailink import _core
from ailink.config.policies import Action, PolicyRule, Redact
from ailink.config.policy_rows import Numbers, chosen, targets, then_json
from ailink.config.problems import Path, did_you_mean
from ailink.config.schema import Config
from ailink.config.zones import ZoneError, offsets
from ailink.guard import load

_PLACE = re.compile(r'^policy "[^"]*": ([\w.\[\]$]+(?: \d+)?): (.*)$', re.DOTALL)


def faults(config: Config, kept: Callable[[Path], Iterable[int]]) -> Iterator[tuple[Path, str]]:
    """Where and what. `kept`: places in the file of the list items that were read."""
    names: set[str] = set()
    for index, rule in zip(kept(("policies",)), config.policies, strict=False):
        path: Path = ("policies", index)
        if rule.name in names:
            yield (*path, "name"), f"there are two policies named `{rule.name}`"
        names.add(rule.name)
        yield from (((*path, *place), text) for place, text in rule_faults(rule, config))
    for place, name in enumerate(config.defaults.policies):
        if name not in names:
            yield ("defaults", "policies", place), f"no policy `{name}`{did_you_mean(name, names)}"
    for index, model in zip(kept(("models",)), config.models, strict=False):
        for place, name in enumerate(model.policies):
            if name not in names:
                yield ("models", index, "policies", place), f"no policy `{name}`{did_you_mean(name, names)}"
    for name, days in config.calendars.items():
        for place, day in enumerate(days):
            try:
                date.fromisoformat(day)
            except ValueError:
                yield ("calendars", name, place), f"`{day}` is no date such as `2026-12-25`"


def rule_faults(rule: PolicyRule, config: Config) -> list[tuple[Path, str]]:
    """What is wrong with one policy: the place in it, and why."""
    found: list[tuple[Path, str]] = []
    for place, action in enumerate(rule.then):
        found += [(("then", place, *at), text) for at, text in _action(action, config)]
    models = {name for model in config.models for name in (model.name, *model.aliases)}
    for kind, name in targets(rule.attach):
        if kind == "model" and name not in models:
            found.append((("attach", "models"), f"no model `{name}`{did_you_mean(name, models)}"))
    if found:
        return found
    try:
        zone = list(offsets(rule.timezone, datetime.now(UTC).year))
    except ZoneError as error:
        return [(("timezone",), str(error))]
    numbers = Numbers(named=lambda _: 0, found=lambda _, redact: [0][: _finds(redact)])
    row = {
        "name": rule.name,
        "version": 1,
        "phase": rule.phase,
        "shadow": False,
        "priority": rule.priority,
        "when": None if rule.when is None else str(rule.when),
        "then": then_json(rule, numbers, trusted=True),
        "zone": 0,
    }
    attachments = [
        {"kind": kind, "id": name, "policies": [0]} for kind, name in targets(rule.attach) if kind == "route"
    ]
    policies = {"policies": [row], "attachments": attachments, "zones": [zone], "calendars": {}, "keep": 0}
    trial = {"policies": policies, "guardrails": [], "scene": "{}"}
    fault = _core.policy_fault(msgspec.msgpack.encode(trial))
    return [] if fault is None else [_placed(fault)]


def _finds(redact: Redact) -> int:
    return 1 if redact.presets or redact.words or redact.patterns else 0


def _placed(fault: str) -> tuple[Path, str]:
    """The data plane's message with the place taken out of it."""
    found = _PLACE.match(fault)
    if found is None:
        return (), fault
    names = re.findall(r"[^.\[\]]+", found[1])
    steps: list[str | int] = [int(step) if step.isdigit() else step for step in names]
    # What the file has is known down to the first steps; the rest is told.
    place = tuple(steps[:1]) if steps[:1] == ["when"] else tuple(steps[:2])
    rest = found[1]
    return place, f"{rest}: {found[2]}"


def _action(action: Action, config: Config) -> Iterator[tuple[Path, str]]:
    given = chosen(action)
    if len(given) != 1:
        yield (), f"an action is one of {', '.join(Action.__struct_fields__)}"
        return
    ((name, value),) = given
    checks: Mapping[str, Callable[[Any, Config], Iterator[tuple[Path, str]]]] = {
        "redact": _redact,
        "guardrail": _guardrail,
        "transform": _transform,
        "route": _route,
        "split": _split,
        "require_approval": _require_approval,
    }
    if name in checks:
        yield from (((name, *at), text) for at, text in checks[name](value, config))


def _redact(value: Any, config: Config) -> Iterator[tuple[Path, str]]:
    presets = load()
    for place, name in enumerate(value.presets):
        if name not in presets:
            yield ("presets", place), f"no preset `{name}`{did_you_mean(name, presets)}"


def _guardrail(value: Any, config: Config) -> Iterator[tuple[Path, str]]:
    known = {rule.name for rule in config.guardrails}
    for place, name in enumerate(value.guardrails):
        if name not in known:
            yield ("guardrails", place), f"no guardrail `{name}`{did_you_mean(name, known)}"


def _transform(value: Any, config: Config) -> Iterator[tuple[Path, str]]:
    for place, op in enumerate(value):
        if len(chosen(op)) != 1:
            yield (place,), f"a change is one of {', '.join(op.__struct_fields__)}"


def _route(value: Any, config: Config) -> Iterator[tuple[Path, str]]:
    yield from _model(value.model, config)


def _split(value: Any, config: Config) -> Iterator[tuple[Path, str]]:
    for place, variant in enumerate(value.variants):
        yield from ((("variants", place, *at), text) for at, text in _model(variant.model, config))


def _require_approval(value: Any, config: Config) -> Iterator[tuple[Path, str]]:
    known = {channel.name for channel in config.alerts.channels}
    for place, name in enumerate(value.channels or ()):
        if name not in known:
            yield ("channels", place), f"no channel `{name}` under `alerts`{did_you_mean(name, known)}"
    users = value.reviewers.users
    if users and not value.reviewers.roles and len(set(users)) < value.quorum:
        yield ("quorum",), f"only {len(set(users))} may review, so that {value.quorum} never approve"


def _model(name: str | None, config: Config) -> Iterator[tuple[Path, str]]:
    models = {name for model in config.models for name in (model.name, *model.aliases)}
    if name is not None and name not in models:
        yield ("model",), f"no model `{name}`{did_you_mean(name, models)}"
