"""A model's routing as the data plane takes it: every value settled."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ailink.config.routing import DEFAULT_ROUTING, AllowedFails, Hedge, Mirror, ServiceTiers
from ailink.config.schema import DEFAULT_TIMEOUTS, Config, Deployment, Model, Strict
from ailink.snapshot import model as wire

_ORDERS: Final = 1_001
"""More than the highest `order`."""


def compile_routing(
    model: Model, config: Config, names: Callable[[Iterable[str]], list[str]]
) -> wire.Routing:
    """`names`: aliases to the names of their models, each once."""
    layers = (model.routing, config.routing, DEFAULT_ROUTING)
    own = _settled(layers)
    retry = _settled([layer.retry for layer in layers])
    breaker = _settled([layer.breaker for layer in layers])

    def times(name: str) -> int:
        value = retry(name)
        return model.retries if value is None else int(value)

    return wire.Routing(
        conditions=[
            wire.Redirect(when=str(rule.when), then=names([rule.then])[0]) for rule in own("conditions")
        ],
        service_tiers=[_service_tiers(rule) for rule in own("service_tiers")],
        strategies=[
            wire.StrategyRule(when=str(rule.when), strategy=rule.strategy) for rule in own("strategies")
        ],
        strategy=own("strategy"),
        latency_of=own("latency_of"),
        otherwise="shuffle" if own("custom") is None else own("custom").otherwise,
        engine_stale_ms=int(own("engine").stale),
        slack=own("slack"),
        explore=own("explore"),
        hash_on=list(own("hash_on")),
        prompt_min_tokens=own("prompt_min_tokens"),
        translation=own("translation"),
        match_all_tags=own("tags") == "all",
        refuses_long=own("too_long") == "refuse",
        max_cost_pico=None if own("max_cost") is None else int(own("max_cost")),
        retries=wire.Retries(**{name: times(name) for name in wire.Retries.__struct_fields__}),
        backoff_ms=int(retry("backoff")),
        backoff_max_ms=int(retry("backoff_max")),
        retry_after_max_ms=int(retry("retry_after_max")),
        breaker=wire.Breaker(
            consecutive=breaker("consecutive"),
            percent=breaker("percent"),
            minimum=breaker("minimum"),
            window_ms=int(breaker("window")),
            allowed_fails=breaker("allowed_fails"),
            allowed_of=_allowed(breaker("allowed_fails_of")),
            open_ms=int(breaker("open")),
            open_max_ms=int(breaker("open_max")),
            probes=breaker("probes"),
            slow_start_ms=int(breaker("slow_start")),
            outlier_percent=breaker("outlier_percent"),
            ejected_percent=breaker("ejected_percent"),
        ),
        overload=_overload(_settled([layer.overload for layer in layers])),
        mirror=_mirror(model, own("mirror"), names),
        hedge=_hedge(own("hedge")),
        context_window_fallbacks=names(model.context_window_fallbacks),
        content_policy_fallbacks=names(model.content_policy_fallbacks),
        rate_limit_fallbacks=names(model.rate_limit_fallbacks),
        cost_fallbacks=names(model.cost_fallbacks),
    )


def _service_tiers(rule: ServiceTiers) -> wire.ServiceTiers:
    return wire.ServiceTiers(when=None if rule.when is None else str(rule.when), tiers=list(rule.tiers))


def _allowed(of: AllowedFails | None) -> tuple[int | None, int | None, int | None, int | None]:
    if of is None:
        return None, None, None, None
    return of.server_error, of.timeout, of.rate_limit, of.authentication


def boundaries(config: Config) -> list[wire.Boundary]:
    """Where requests may go for whose they are."""
    return [
        wire.Boundary(
            when=None if rule.when is None else str(rule.when),
            regions=list(rule.regions),
            keeps_nothing=rule.zero_data_retention,
        )
        for rule in config.routing.boundaries
    ]


def _overload(own: Callable[[str], Any]) -> wire.Overload:
    wait = own("wait")
    return wire.Overload(
        adaptive=own("adaptive"),
        initial=own("initial"),
        least=own("least"),
        most=own("most"),
        tolerance=own("tolerance"),
        wait_ms=None if wait is None else int(wait),
        queue=own("queue"),
        priorities=[
            wire.Prioritized(when=str(rule.when), priority=rule.priority) for rule in own("priorities")
        ],
    )


def _hedge(hedge: Hedge | None) -> wire.Hedge | None:
    if hedge is None:
        return None
    after = None if hedge.after is None else int(hedge.after)
    return wire.Hedge(after_ms=after, least_ms=int(hedge.least), percent=hedge.percent)


def _mirror(
    model: Model, mirror: Mirror | None, names: Callable[[Iterable[str]], list[str]]
) -> wire.Mirror | None:
    target = names([mirror.model])[0] if mirror else model.name
    if mirror is None or target == model.name:
        return None
    return wire.Mirror(
        model=target,
        percent=mirror.percent,
        hash_on=list(mirror.hash_on),
        in_flight=mirror.in_flight,
        bill=mirror.bill,
    )


def tier(model: Model, config: Config, deployment: Deployment) -> int:
    """Where a deployment stands: by its region, provisioned before the rest, then by its order."""
    regions, _ = _regions(model, config)
    rank = regions.index(deployment.region) if deployment.region in regions else len(regions)
    behind = not deployment.provisioned and any(other.provisioned for other in model.deployments)
    return (2 * rank + behind) * _ORDERS + deployment.order if behind or rank else deployment.order


def settled(model: Model, config: Config, name: str) -> Any:
    """What holds for a model: its own word, that for all models, or the default."""
    return _settled((model.routing, config.routing, DEFAULT_ROUTING))(name)


def elsewhere(model: Model, config: Config, deployment: Deployment) -> bool:
    """Whether it is in no region that requests of its model may go to."""
    regions, only = _regions(model, config)
    return only and deployment.region not in regions


def _regions(model: Model, config: Config) -> tuple[tuple[str, ...], bool]:
    own = _settled((model.routing, config.routing, DEFAULT_ROUTING))
    return own("regions"), own("regions_only")


def _settled(layers: Sequence[Strict]) -> Callable[[str], Any]:
    def first(name: str) -> Any:
        values = (getattr(layer, name) for layer in layers)
        return next((value for value in values if value is not None), None)

    return first


def timeouts(model: Model, deployment: Deployment) -> wire.Timeouts:
    """Its own, else its model's, else the usual ones."""

    def first(name: str) -> int:
        layers = (deployment.timeouts, model.timeouts, DEFAULT_TIMEOUTS)
        return next(int(value) for layer in layers if (value := getattr(layer, name)) is not None)

    return wire.Timeouts(
        connect_ms=first("connect"),
        first_byte_ms=first("first_byte"),
        idle_ms=first("idle"),
        total_ms=first("total"),
    )
