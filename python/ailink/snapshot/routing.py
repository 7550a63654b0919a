"""A model's routing as the data plane takes it: every value settled."""

from collections.abc import Callable, Iterable
from typing import Any

from ailink.config.routing import DEFAULT_ROUTING, ModelRouting
from ailink.config.schema import Config, Model
from ailink.snapshot import model as wire


def compile_routing(
    model: Model, config: Config, names: Callable[[Iterable[str]], list[str]]
) -> wire.Routing:
    """`names`: aliases to the names of their models, each once."""
    layers = (model.routing, config.routing, DEFAULT_ROUTING)
    retry = _settled("retry", layers)
    breaker = _settled("breaker", layers)

    def times(name: str) -> int:
        value = retry(name)
        return model.retries if value is None else int(value)

    return wire.Routing(
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
            open_ms=int(breaker("open")),
            open_max_ms=int(breaker("open_max")),
            probes=breaker("probes"),
            slow_start_ms=int(breaker("slow_start")),
            outlier_percent=breaker("outlier_percent"),
            ejected_percent=breaker("ejected_percent"),
        ),
        context_window_fallbacks=names(model.context_window_fallbacks),
        content_policy_fallbacks=names(model.content_policy_fallbacks),
        rate_limit_fallbacks=names(model.rate_limit_fallbacks),
    )


def _settled(section: str, layers: tuple[ModelRouting, ...]) -> Callable[[str], Any]:
    def first(name: str) -> Any:
        values = (getattr(getattr(layer, section), name) for layer in layers)
        return next((value for value in values if value is not None), None)

    return first
