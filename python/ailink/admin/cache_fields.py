"""What can be said of the cache on a key and on whatever stands above it, and what holds of it all.

Levels only narrow one another: what one switches off, none below switches on; the narrowest scope, the
shortest time and the highest threshold hold. A namespace is the nearest level's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink.admin.errors import bad_request
from ailink.admin.lineage import Level
from ailink.admin.plane import KeyCache
from ailink.config.units import Duration, Similarity
from ailink.store.settings import CacheRule

Control = Literal["no-cache", "no-store", "ttl", "s-maxage", "namespace", "use-cache"]
Controls = Annotated[
    list[Control],
    Meta(max_length=6, description="What requests may say of the cache; empty: all of it."),
]
# The narrowest first.
SCOPES = ("key", "user", "team", "organization", "shared")


class CacheFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the cache takes part in requests. What is left out is as the levels above or the file say."""

    enabled: bool | None = None
    mode: Literal["on", "opt_in"] | None = None
    scope: Literal["key", "user", "team", "organization", "shared"] | None = None
    namespace: (
        Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")] | None
    ) = None
    ttl: Annotated[str, Meta(max_length=32, description="Such as `30s`, `10m`, `1h30m`.")] | None = None
    store: Annotated[bool, Meta(description="False: answers are given, but none are kept.")] | None = None
    semantic: bool | None = None
    semantic_threshold: Annotated[float, Meta(ge=0.5, le=1)] | None = None


def rule_of(fields: CacheFields | None) -> CacheRule | None:
    """The setting as it is kept. Raises `ApiError` (400)."""
    if fields is None or fields == CacheFields():
        return None
    return CacheRule(
        enabled=fields.enabled,
        mode=fields.mode,
        scope=fields.scope,
        namespace=fields.namespace,
        ttl_ms=None if fields.ttl is None else _duration(fields.ttl),
        store=fields.store,
        semantic=fields.semantic,
        threshold=None if fields.semantic_threshold is None else _similarity(fields.semantic_threshold),
    )


def shown(rule: CacheRule | None) -> dict[str, Any]:
    """The setting as it was said."""
    return {} if rule is None else {name: value for name, value in _parts(rule) if value is not None}


def _parts(rule: CacheRule) -> list[tuple[str, Any]]:
    threshold = None if rule.threshold is None else rule.threshold / 10_000
    return [
        ("enabled", rule.enabled),
        ("mode", rule.mode),
        ("scope", rule.scope),
        ("namespace", rule.namespace),
        ("ttl", None if rule.ttl_ms is None else str(Duration(rule.ttl_ms))),
        ("store", rule.store),
        ("semantic", rule.semantic),
        ("semantic_threshold", threshold),
    ]


def _duration(text: str) -> int:
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise bad_request(f"`cache.ttl`: {error}", param="cache.ttl") from error
    if not found:
        raise bad_request("`cache.ttl`: must be more than 0", param="cache.ttl")
    return int(found)


def _similarity(value: float) -> int:
    try:
        return int(Similarity.parse(Decimal(str(value))))
    except ValueError as error:
        raise bad_request(f"`cache.semantic_threshold`: {error}", param="cache.semantic_threshold") from error


def _nearest(values: Sequence[Any]) -> Any:
    return values[-1]


def _mode(values: Sequence[Any]) -> Any:
    return "opt_in" if "opt_in" in values else "on"


def _scope(values: Sequence[Any]) -> Any:
    return min(values, key=SCOPES.index)


# Which of several said values holds; the first level is the highest.
HOLDS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "enabled": all,
    "mode": _mode,
    "scope": _scope,
    "namespace": _nearest,
    "ttl_ms": min,
    "store": all,
    "semantic": all,
    "threshold": max,
}


def merged(levels: Iterable[Level]) -> CacheRule:
    """What holds of all that the levels say."""
    rules = [level.settings.cache for level in levels if level.settings.cache is not None]
    found = {}
    for name, holds in HOLDS.items():
        values = [value for rule in rules if (value := getattr(rule, name)) is not None]
        found[name] = holds(values) if values else None
    return CacheRule(**found)


def controls(levels: Iterable[Level]) -> list[str] | None:
    """What requests may say; None: all of it."""
    said = [level.settings.cache_controls for level in levels if level.settings.cache_controls]
    return [name for name in said[0] if all(name in other for other in said)] if said else None


def key_cache(levels: Sequence[Level]) -> KeyCache | None:
    """The same in the plane's terms; None when no level says anything."""
    rule, allowed = merged(levels), controls(levels)
    if rule == CacheRule() and allowed is None:
        return None
    return KeyCache(
        mode="off" if rule.enabled is False else rule.mode,
        scope=rule.scope,
        namespace=rule.namespace,
        ttl_ms=rule.ttl_ms,
        store=rule.store is not False,
        semantic=None if rule.semantic is None else ("on" if rule.semantic else "off"),
        threshold=rule.threshold,
        controls=allowed,
    )


def said(levels: Sequence[Level]) -> list[tuple[str, Any, list[tuple[Level, Any]]]]:
    """Each setting that some level says: its name, what holds, and who says what."""
    found = []
    for name, effective in _parts(merged(levels)):
        who = [
            (level, value) for level in levels if (value := shown(level.settings.cache).get(name)) is not None
        ]
        if who:
            found.append((f"cache.{name}", effective, who))
    listed = [
        (level, list(level.settings.cache_controls)) for level in levels if level.settings.cache_controls
    ]
    if listed:
        found.append(("allowed_cache_controls", controls(levels), listed))
    return found
