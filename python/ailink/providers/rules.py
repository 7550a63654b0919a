"""What a provider's row says about single parameters of a request; the data plane applies it as splices."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ailink.providers.vocabulary import CARRIERS, UPLOADS, Operation

ALL: Final = "all"
"""In place of an operation: the rules hold for every operation of the row."""

ParameterName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
Json = str | bool | int | float | list[object] | dict[str, object]


class ParameterRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter at one provider. Parameters without a rule pass as they were sent."""

    to: ParameterName | None = None
    """Renamed. Where the caller used that name too, it stands and this one is left out, announced."""
    reject: str | None = None
    """Refused with 400; the text says what to do instead. `null` and `false` ask for nothing: left out."""
    drop: bool = False
    """Left out; announced in `x-ailink-dropped`."""
    min: int | float | None = None
    """Smaller numbers are raised to it; announced."""
    max: int | float | None = None
    """Larger numbers are lowered to it; announced."""
    default: Json | None = None
    """Sent when the caller did not send the parameter."""
    require: bool = False
    """Its absence is refused with 400."""


Rules = dict[ParameterName, ParameterRule]
Parameters = dict[Operation | Literal["all"], Rules]


def fault(rules: Parameters, operations: frozenset[Operation], asks_for_usage: bool) -> str | None:
    """Why a row's `[parameters]` cannot be followed, or None."""
    for operation, table in rules.items():
        if operation in UPLOADS:
            return f"{operation}: requests of this operation are forms, which have no rules"
        if operation != ALL and operation not in operations:
            return f"{operation}: the row does not serve this operation"
        targets = [rule.to for rule in table.values() if rule.to is not None]
        for name, rule in table.items():
            reason = _fault(name, rule)
            if reason is None and name == "stream_options" and asks_for_usage:
                reason = 'belongs to the gateway where `stream_usage = "inject"`'
            if reason is None and rule.to is not None and (rule.to in table or targets.count(rule.to) > 1):
                reason = f"`{rule.to}` has a rule of its own"
            if reason is not None:
                return f"{operation}.{name}: {reason}"
    return None


def _fault(name: str, rule: ParameterRule) -> str | None:
    told = {field for field in rule.__struct_fields__ if getattr(rule, field) not in (None, False)}
    if name in CARRIERS or rule.to in CARRIERS:
        return "carries the request itself"
    if not told:
        return "says nothing"
    alone = told & {"reject", "drop"}
    if alone and len(told) > 1:
        return f"`{min(alone)}` stands alone"
    if rule.to == name:
        return "is renamed to itself"
    if rule.require and rule.default is not None:
        return "`default` and `require` exclude each other"
    if rule.min is not None and rule.max is not None and rule.min > rule.max:
        return "`min` is more than `max`"
    return None


def of(rules: Parameters, operation: Operation) -> Rules:
    """The rules of one operation: its own over those for all."""
    if operation in UPLOADS:
        return {}
    return {**rules.get(ALL, {}), **rules.get(operation, {})}
