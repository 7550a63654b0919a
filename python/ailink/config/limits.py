"""What `ailink.yaml` may say about limits and budgets of the gateway itself: in all, per model, provider,
deployment or endpoint. Those of keys, teams and other tenants are kept in the store and changed through the
API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from ailink.config.section import Strict
from ailink.config.units import Duration, PicoUsd
from ailink.providers.vocabulary import OPERATIONS

_Amount = Annotated[int, Meta(ge=0, le=10**15)]
_Name = Annotated[str, Meta(max_length=256)]
Percent = Annotated[int, Meta(ge=1, le=100)]
_Names = tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...]
Each = Literal["ip", "session", "key", "user", "team", "customer", "model"]
On = Annotated[str, Meta(pattern=r"^(global|(model|provider|deployment|endpoint):.{1,256})$")]

UNITS: Final = ("second", "minute", "hour", "day", "week", "month", "year")
LONGEST_WAIT: Final = Duration(600_000)
LONGEST: Final = Duration(400 * 86_400_000)


class OnExhausted(Strict, frozen=True, kw_only=True):
    """What becomes of a request for which a limit has no room; one of the three. Without: it is refused."""

    queue: Duration | None = None
    """It waits for its turn so long at most: by priority, then first come first served."""
    waiting: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """So many wait at most; a request of a higher priority takes the place of the last."""
    throttle: Duration | None = None
    """Once `above` percent of it are used, each request is delayed, so long at most, to the pace at which it
    is renewed; of limits on `requests`.
    """
    above: Annotated[int, Meta(ge=0, le=99)] = 50
    fallback: bool = False
    """The fallbacks of its model answer it."""


class Keep(Strict, frozen=True, kw_only=True):
    """Percents of a limit that are kept from requests of a lower priority."""

    high: Annotated[int, Meta(ge=0, le=100)] = 0
    normal: Annotated[int, Meta(ge=0, le=100)] = 0
    """What those of low priority may not use besides."""


class Common(Strict, frozen=True, kw_only=True):
    """What limits and budgets have in common."""

    on: On = "global"
    """`global`, or `model:NAME`, `provider:NAME`, `deployment:ID`, `endpoint:OPERATION`."""
    name: _Name = ""
    """What refusals call it."""
    models: _Names | None = None
    """Names or globs it is about, counted together; null: all."""
    providers: _Names | None = None
    """The same of providers."""
    endpoints: _Names | None = None
    """Operations it is about, counted together; null: all."""
    each: Each | None = None
    """It holds for each of these by itself; null: for all together."""
    soft: bool = False
    """Passing it is reported, and nothing refused."""
    on_exhausted: OnExhausted = OnExhausted()
    keep: Keep = Keep()


class Limit(Common, frozen=True, kw_only=True):
    """At most this much in any window of the length `per`, wherever it begins; `parallel` at any time."""

    requests: _Amount | None = None
    """So many in each window of `per`."""
    input_tokens: _Amount | None = None
    output_tokens: _Amount | None = None
    tokens: _Amount | None = None
    """Input and output."""
    parallel: _Amount | None = None
    """Requests under way at a time."""
    per: Duration = Duration(60_000)


class Budget(Common, frozen=True, kw_only=True):
    """At most this many US dollars."""

    usd: PicoUsd
    per: Annotated[str, Meta(min_length=1, max_length=32)] = "month"
    """A unit of the calendar (`day`, `week` from Monday, `month`, …), a duration such as `30d` for any
    window of that length, or `lifetime`.
    """
    alert_at: Annotated[tuple[Percent, ...], Meta(max_length=10)] = ()
    """Percents of it that are told of when they are passed; see `alerts`."""


class Budgets(Strict, frozen=True, kw_only=True):
    """How spending is limited."""

    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    """Whose midnight begins a day, by its name in the tz database."""
    exceeded_status: Literal[400, 402, 422, 429] = 422
    """HTTP status of a refusal; 422 as LiteLLM has it. Official SDKs try 429 again."""
    assumed_output: Annotated[int, Meta(ge=1, le=10_000_000)] = 4_096
    """Output tokens set aside for a request that names no maximum, if the model's own is no lower."""
    rules: tuple[Budget, ...] = ()


def window(per: str) -> Duration | str:
    """The length of a sliding window, a unit of the calendar, or `lifetime`. Raises ValueError."""
    if per in UNITS or per == "lifetime":
        return per
    return Duration.parse(per)


Path = tuple[str | int, ...]


def faults(limits: tuple[Limit, ...], budgets: Budgets, models: Set[str]) -> Iterator[tuple[Path, str]]:
    """(path, message) of what a single value cannot show. `models`: every name and alias."""
    known = {"model": models, "endpoint": frozenset(OPERATIONS)}
    for index, limit in enumerate(limits):
        path: Path = ("limits", index)
        amounts = (limit.requests, limit.input_tokens, limit.output_tokens, limit.tokens, limit.parallel)
        if all(amount is None for amount in amounts):
            yield (
                path,
                "limits nothing: give `requests`, `tokens`, `input_tokens`, `output_tokens` or `parallel`",
            )
        if not 0 < limit.per <= LONGEST:
            yield (*path, "per"), "must be from 1ms to 400d"
        yield from _unknown(limit.on, (*path, "on"), known)
        yield from _narrowed(limit, path)
        yield from _exhausted(limit, path)
    for index, budget in enumerate(budgets.rules):
        path = ("budgets", "rules", index)
        yield from _amount(budget, path)
        if budget.on.startswith("endpoint:"):
            yield (*path, "on"), "spend is not recorded by endpoint, so it cannot be limited there"
        yield from _unknown(budget.on, (*path, "on"), known)
        yield from _narrowed(budget, path)
        yield from _exhausted(budget, path)
    try:
        ZoneInfo(budgets.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield ("budgets", "timezone"), f"no time zone `{budgets.timezone}` in the tz database"


def _amount(budget: Budget, path: Path) -> Iterator[tuple[Path, str]]:
    try:
        length = window(budget.per)
    except ValueError as error:
        yield (*path, "per"), f"expected one of {', '.join(UNITS)}, `lifetime` or a duration: {error}"
    else:
        if isinstance(length, Duration) and not 0 < length <= LONGEST:
            yield (*path, "per"), "must be from 1ms to 400d"
    if not 0 <= int(budget.usd) < 2**63:
        yield (*path, "usd"), "must be from 0 to 9 million"
    if budget.each is not None and budget.per == "lifetime":
        yield (*path, "per"), "what holds for each of many needs a period that ends"


def _narrowed(limit: Limit | Budget, path: Path) -> Iterator[tuple[Path, str]]:
    for name in ("models", "providers", "endpoints"):
        if getattr(limit, name) == ():
            yield (*path, name), "names nothing; leave it out for all"
    for index, endpoint in enumerate(limit.endpoints or ()):
        if endpoint not in OPERATIONS and "*" not in endpoint:
            yield (*path, "endpoints", index), f"there is no endpoint `{endpoint}`"
    if limit.endpoints is not None and isinstance(limit, Budget):
        yield (*path, "endpoints"), "spend is not recorded by endpoint, so it cannot be limited there"


def _exhausted(limit: Limit | Budget, path: Path) -> Iterator[tuple[Path, str]]:
    wanted, told = limit.on_exhausted, (*path, "on_exhausted")
    asked = (wanted.queue is not None, wanted.throttle is not None, wanted.fallback)
    if sum(asked) > 1:
        yield told, "give one of `queue`, `throttle` and `fallback`"
    for name, wait in (("queue", wanted.queue), ("throttle", wanted.throttle)):
        if wait is not None and not 0 < wait <= LONGEST_WAIT:
            yield (*told, name), "must be from 1ms to 10m"
    rates = isinstance(limit, Limit) and limit.requests is not None
    if wanted.throttle is not None and not rates:
        yield (*told, "throttle"), "only limits on `requests` have a pace"
    if limit.keep.high + limit.keep.normal > 100:
        yield (*path, "keep"), "more than all of it is kept"
    kind = limit.on.partition(":")[0]
    if limit.soft and (any(asked) or limit.keep != Keep()):
        yield path, "a soft limit refuses nothing, so nothing is exhausted or kept"
    kind = "provider" if limit.providers is not None else kind
    if kind in ("provider", "deployment") and any(asked):
        yield told, f"a {kind} without room is passed over for another, and then for the model's fallbacks"


def _unknown(on: str, path: Path, known: Mapping[str, Set[str]]) -> Iterator[tuple[Path, str]]:
    kind, _, name = on.partition(":")
    if kind in known and name not in known[kind]:
        yield path, f"there is no {kind} `{name}`"
