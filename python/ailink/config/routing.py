"""What `ailink.yaml` may say about routing: under `routing` for all models, under a model's `routing` for it.

A key that is null is taken from the section above, in the end from DEFAULT_ROUTING.
"""

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from ailink.config.section import Strict
from ailink.config.units import Duration, PicoUsd, Tree

_Times = Annotated[int, Meta(ge=0, le=10)]
_Percent = Annotated[int, Meta(ge=0, le=100)]
_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Region = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")]
_Tier = Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,31}$")]
_Number = Annotated[int, Meta(ge=0, le=1_000_000)]


class Retry(Strict, frozen=True, kw_only=True):
    """How often a request is sent again, by the class of its last failure, and how long to wait.

    null: for `authentication` (then only to another deployment), `timeout`, `rate_limit`, `server_error` and
    `connection` the model's `retries`, for the others 0.
    """

    bad_request: _Times | None = None
    authentication: _Times | None = None
    not_found: _Times | None = None
    timeout: _Times | None = None
    rate_limit: _Times | None = None
    content_policy: _Times | None = None
    context_window: _Times | None = None
    server_error: _Times | None = None
    connection: _Times | None = None
    backoff: Duration | None = None
    """First wait before the same deployment is asked again: doubled each time, a random part is waited."""
    backoff_max: Duration | None = None
    retry_after_max: Duration | None = None
    """A provider's `Retry-After` up to this is waited for; a longer one is passed on to the caller."""


class AllowedFails(Strict, frozen=True, kw_only=True):
    """So many failures of a kind within a window leave a deployment where it is; one more leaves it out, and
    no other rule counts for that kind.
    """

    server_error: _Number | None = None
    timeout: _Number | None = None
    """Lost and refused connections too."""
    rate_limit: _Number | None = None
    authentication: _Number | None = None


class Breaker(Strict, frozen=True, kw_only=True):
    """When a deployment is left out, and for how long. 0 turns a rule off; `open: 0s` all of them."""

    consecutive: _Number | None = None
    """Failures in a row."""
    percent: _Percent | None = None
    """Share of failures among the requests of `window`, once there are `minimum`."""
    minimum: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    window: Duration | None = None
    allowed_fails: _Number | None = None
    """More failures than this within `window`; null: not counted."""
    allowed_fails_of: AllowedFails | None = None
    open: Duration | None = None
    """How long the first time; twice as long each time in a row."""
    open_max: Duration | None = None
    probes: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """Requests at a time that may try a deployment after that."""
    slow_start: Duration | None = None
    """How long until a deployment that is back has its whole weight."""
    outlier_percent: _Percent | None = None
    """Percentage points of failures above the other deployments of the model."""
    ejected_percent: _Percent | None = None
    """At most this part of a model's deployments is left out as outliers, but always one may be."""


class Prioritized(Strict, frozen=True, kw_only=True):
    """Who goes first when requests have to wait; others are `normal`."""

    when: Tree
    priority: Literal["high", "normal", "low"]


class Overload(Strict, frozen=True, kw_only=True):
    """What happens when a deployment has more requests than it bears."""

    adaptive: bool | None = None
    """Whether the number of requests at a time that a deployment bears is sought, from its latency. Requests
    beyond it go to other deployments, wait, or get 503.
    """
    initial: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """The number to begin with."""
    least: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    most: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    tolerance: Annotated[int, Meta(ge=1, le=900)] | None = None
    """Latency may be so many percent above what it is at ease."""
    wait: Duration | None = None
    """Longest wait for a place; null: a third of what the first byte of an answer takes at ease."""
    queue: _Number | None = None
    """Most requests that wait at a deployment; 0: none does."""
    priorities: tuple[Prioritized, ...] | None = None
    """The first whose condition holds counts; a caller may lower it with `x-ailink-priority`."""


class Boundary(Strict, frozen=True, kw_only=True):
    """Where requests may go for whose they are."""

    when: Tree | None = None
    """Whose: asks for `key.id`, `team.id`, `organization.alias`, … only; null: everybody's."""
    regions: tuple[_Region, ...] = ()
    """Only deployments with these `region`s."""
    zero_data_retention: bool = False
    """Only deployments with `zero_data_retention`."""


class Redirect(Strict, frozen=True, kw_only=True):
    """Another model for requests for which a condition holds."""

    when: Tree
    """Fields with the values they must have, or with `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`,
    `$nin`, `$regex`, `$exists`; `$and`, `$or`, `$not` nest.
    """
    then: _Name


class ServiceTiers(Strict, frozen=True, kw_only=True):
    """Service tiers that requests may use for which a condition holds."""

    when: Tree | None = None
    """null: always."""
    tiers: Annotated[tuple[_Tier, ...], Meta(min_length=1, max_length=8)]
    """In this order. `default`: deployments without a `service_tier`."""


class StrategyRule(Strict, frozen=True, kw_only=True):
    """Another strategy for requests for which a condition holds."""

    when: Tree
    strategy: Literal[
        "shuffle",
        "round_robin",
        "least_busy",
        "lowest_latency",
        "lowest_cost",
        "usage",
        "consistent_hash",
    ]


class Mirror(Strict, frozen=True, kw_only=True):
    """Another model that gets a part of the requests too. Its answers go to nobody; they are compared."""

    model: _Name
    percent: Annotated[int, Meta(ge=1, le=100)] = 100
    hash_on: tuple[Literal["session", "user", "prompt", "key"], ...] = ()
    """Requests that agree in the first of these that they have are mirrored all or not at all; without it
    each is drawn.
    """
    in_flight: Annotated[int, Meta(ge=1, le=10_000)] = 16
    """Most of them at a time; others are not mirrored."""
    bill: bool = False
    """Whether the caller's key and budgets pay for the mirror too; otherwise nobody's do."""


class Hedge(Strict, frozen=True, kw_only=True):
    """A second deployment is asked when the first is slow; the first good answer is taken."""

    after: Duration | None = None
    """How slow: time without an answer; null: slower than 95 % of the model's requests lately."""
    least: Duration = Duration(50)
    """Never sooner than this."""
    percent: _Percent = 5
    """Most second attempts per hundred requests of the last ten seconds, but always one; 0: none."""


_TARGET = r"^/[!-~]*\Z"


class HealthCheck(Strict, frozen=True, kw_only=True):
    """Deployments are asked now and then how they do, without waiting for a caller to find out."""

    by: Literal["models", "request"] = "models"
    """Asks for the provider's list of models, or where it has none only for a connection; or makes a request
    of the smallest size, which costs what such a request costs.
    """
    path: Annotated[str, Meta(pattern=_TARGET, max_length=1_024)] | None = None
    """Asks for this path of the deployment's host instead."""
    every: Duration = Duration(30_000)
    timeout: Duration = Duration(5_000)
    failing: Annotated[int, Meta(ge=1, le=100)] = 3
    """So many failures in a row leave a deployment out."""
    passing: Annotated[int, Meta(ge=1, le=100)] = 2
    """So many successes in a row take it back."""


class EngineMetrics(Strict, frozen=True, kw_only=True):
    """How `engine_load` asks vLLM, SGLang, llama.cpp or TGI for their metrics."""

    path: Annotated[str, Meta(pattern=_TARGET, max_length=1_024)] = "/metrics"
    """Of the deployment's host."""
    every: Duration = Duration(1_000)
    timeout: Duration = Duration(1_000)
    stale: Duration = Duration(5_000)
    """What is older says nothing: then requests in flight count."""


class CustomStrategy(Strict, frozen=True, kw_only=True):
    """A strategy written in Python. No request waits for it: it gives weights ahead of time."""

    plugin: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """`module:Class`. Modules may stand beside the file."""
    options: Tree | None = None
    """What the class is made with: a mapping of anything."""
    every: Duration = Duration(1_000)
    timeout: Duration = Duration(500)
    """Longest that it may take."""
    otherwise: Literal["shuffle", "round_robin", "least_busy"] = "shuffle"
    """What takes its place when it fails or is late for three times in a row."""


# Their places, from 1, are the codes in the ledger: new ones stand at the end.
Strategy = Literal[
    "shuffle",
    "round_robin",
    "least_busy",
    "lowest_latency",
    "lowest_cost",
    "usage",
    "consistent_hash",
    "engine_load",
    "custom",
]
HashOn = Literal["session", "user", "prompt", "key"]
_STRATEGIES: Final[tuple[str, ...]] = get_args(Strategy)


def decision(number: int) -> tuple[str | None, int | None]:
    """The strategy and the number of candidates that the ledger tells of an attempt; null where there was
    nothing to choose, or where it is not known.
    """
    code, candidates = number & 0xFF, number >> 8 & 0xFF
    return _STRATEGIES[code - 1] if 0 < code <= len(_STRATEGIES) else None, candidates or None


class ModelRouting(Strict, frozen=True, kw_only=True):
    """How the requests of a model find a deployment."""

    conditions: tuple[Redirect, ...] | None = None
    """The first whose condition holds says which model a request goes to; without one it stays."""
    service_tiers: tuple[ServiceTiers, ...] | None = None
    """The first whose condition holds says which deployments a request may use, by their `service_tier`;
    where none holds, those without one.
    """
    strategy: Strategy | None = None
    """Within deployments of the same `order`: by weight, in turn, the fewest requests in flight, the fastest,
    the cheapest, the most quota left, always the same for the same caller, the engine with the least to do,
    or by weights of one's own.
    """
    strategies: tuple[StrategyRule, ...] | None = None
    """In place of `strategy`, for keys, teams or single requests: the first whose condition holds."""
    latency_of: Literal["first_byte", "token"] | None = None
    """What `lowest_latency` goes by."""
    slack: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    """Deployments within so many percent of the fastest, cheapest or least used share the load by weight."""
    explore: _Percent | None = None
    """Share of requests that `lowest_latency` gives out by weight, so that no measurement grows old."""
    hash_on: tuple[HashOn, ...] | None = None
    """What `consistent_hash` goes by: the first of these that a request has."""
    prompt_min_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """A shorter prompt, by estimate, is no `prompt` of `hash_on`: no provider's cache keeps it. Where nothing
    else ties the request, it goes by weight.
    """
    translation: Literal["equal", "last", "never"] | None = None
    """Deployments that do not speak the caller's format: by weight like the others, after them, or never."""
    tags: Literal["any", "all"] | None = None
    """Whether a deployment needs one of a request's tags, or all."""
    regions: tuple[_Region, ...] | None = None
    """Deployments in these regions go first, in this order."""
    regions_only: bool | None = None
    """Whether all others are never asked."""
    too_long: Literal["ask", "refuse"] | None = None
    """What becomes of a prompt that looks longer than any deployment takes and has no fallback."""
    max_cost: PicoUsd | None = None
    """US dollars that one request may come to by estimate; dearer deployments are left out."""
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    overload: Overload = Overload()
    mirror: Mirror | None = None
    hedge: Hedge | None = None
    health_check: HealthCheck | None = None
    engine: EngineMetrics | None = None
    custom: CustomStrategy | None = None
    """What the strategy `custom` is."""


class Explain(Strict, frozen=True, kw_only=True):
    """Why requests went where they went."""

    header: bool = True
    """Whether a request with `x-ailink-explain` gets the decision in `x-ailink-decision`."""
    keep: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """So many decisions are kept for `ailink explain` and `/routing/explain/ID`; 0: none."""
    percent: _Percent = 100
    """Of the requests, so many in a hundred are kept."""


class Routing(ModelRouting, frozen=True, kw_only=True):
    """For all models that do not say otherwise."""

    explain: Explain = Explain()
    boundaries: tuple[Boundary, ...] = ()
    """All that hold for a request bind it."""
    configs: dict[_Name, Tree] = msgspec.field(default_factory=dict)
    """Saved config objects in Portkey's form, for `x-portkey-config: NAME`."""
    default_fallbacks: tuple[str, ...] = ()
    """Fallbacks of models that name none."""


DEFAULT_ROUTING: Final = ModelRouting(
    engine=EngineMetrics(),
    conditions=(),
    service_tiers=(),
    strategies=(),
    strategy="shuffle",
    latency_of="first_byte",
    slack=10,
    explore=5,
    hash_on=("session", "user", "key"),
    prompt_min_tokens=1_024,
    translation="equal",
    tags="any",
    regions=(),
    regions_only=False,
    too_long="ask",
    retry=Retry(
        bad_request=0,
        not_found=0,
        content_policy=0,
        context_window=0,
        backoff=Duration(500),
        backoff_max=Duration(8_000),
        retry_after_max=Duration(10_000),
    ),
    breaker=Breaker(
        consecutive=5,
        percent=50,
        minimum=20,
        window=Duration(10_000),
        open=Duration(5_000),
        open_max=Duration(60_000),
        probes=1,
        slow_start=Duration(10_000),
        outlier_percent=25,
        ejected_percent=50,
    ),
    overload=Overload(
        adaptive=False, initial=20, least=4, most=4_096, tolerance=20, queue=1_000, priorities=()
    ),
)
