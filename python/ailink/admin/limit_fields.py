"""Limits in requests and answers: the words of `limits` and `budgets.rules` in the file, as one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink.admin.errors import ApiError, bad_request
from ailink.admin.money_fields import Money, pico
from ailink.config import limit_words
from ailink.config.limits import Each
from ailink.ledger.money import Usd

Amount = Annotated[int, Meta(ge=0, le=10**15)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Length = Annotated[str, Meta(min_length=1, max_length=32)]
Names = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=100)
]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class ExhaustedFields(_Part, frozen=True, kw_only=True):
    """What becomes of a request for which there is no room: one of `queue` (waits so long), `throttle` (keeps
    the pace) and `fallback`; without any it is refused.
    """

    queue: Length | None = None
    waiting: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    throttle: Length | None = None
    above: Annotated[int, Meta(ge=0, le=99)] | None = None
    fallback: bool = False


class KeepFields(_Part, frozen=True, kw_only=True):
    """Percents that are kept from requests of a lower priority."""

    high: Percent = 0
    normal: Percent = 0


class LimitBody(_Part, frozen=True, kw_only=True):
    """`usd` makes it a budget; else one or more of the others. `per`: `1m`, `1h30m`, `30d`: any window of
    that length; of a budget also `day`, `week`, `month`, … of the calendar, or `lifetime`. `models`,
    `providers`, `endpoints`: what it is about, counted together. `each`: it holds for each by itself.
    """

    name: Annotated[str, Meta(max_length=256)] = ""
    requests: Amount | None = None
    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    tokens: Amount | None = None
    parallel: Amount | None = None
    usd: Money | None = None
    per: Length | None = None
    models: Names | None = None
    providers: Names | None = None
    endpoints: Names | None = None
    each: Each | None = None
    soft: bool = False
    on_exhausted: ExhaustedFields = ExhaustedFields()
    keep: KeepFields = KeepFields()
    alert_at: Annotated[list[Annotated[int, Meta(ge=1, le=100)]], Meta(max_length=10)] | None = None


Limits = Annotated[
    list[LimitBody],
    Meta(max_length=20, description="Limits and budgets beyond those with fields of their own."),
]


def words(fields: LimitBody, path: str) -> dict[str, Any]:
    """In the words of the file, checked. Raises `ApiError` (400)."""
    given: dict[str, Any] = msgspec.to_builtins(fields)
    if fields.usd is not None:
        given["usd"] = Usd(pico(fields.usd, f"{path}.usd") or 0).text()
    return checked(given, path)


def checked(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Raises `ApiError` (400)."""
    try:
        limit = limit_words.read(given)
    except limit_words.LimitFault as fault:
        raise refused(fault, path) from fault
    return limit_words.written(limit)


def refused(fault: limit_words.LimitFault, path: str) -> ApiError:
    place = ".".join(part for part in (path, fault.path) if part) or None
    return bad_request(str(fault) if place is None else f"`{place}`: {fault}", param=place)


def all_words(given: Sequence[LimitBody]) -> tuple[dict[str, Any], ...]:
    """Raises `ApiError` (400)."""
    return tuple(words(fields, f"limits[{index}]") for index, fields in enumerate(given))


class NewLimit(LimitBody, frozen=True, kw_only=True):
    """A limit of the gateway itself. `on`: `global`, `model:NAME`, `provider:NAME`, `deployment:ID` or
    `endpoint:OPERATION`.
    """

    on: Annotated[str, Meta(max_length=300)] = "global"
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")] | None = None


class LimitChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the limit is from now on; what is left out is as if it had never been said. `on` stays."""

    limit: LimitBody


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """`limit`: in the words of the file. `used`: of each thing it counts, on this node, if it holds for all
    together. `source`: `file` (read-only here) or `api`.
    """

    id: str
    on: str
    source: Literal["file", "api"]
    limit: dict[str, Any]
    used: dict[str, Any] | None = None


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[LimitView]
