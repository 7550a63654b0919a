"""How the cache takes part in the requests of each model."""

from pathlib import Path
from typing import Final

from ailink.config.cache import RedisTier, Semantic
from ailink.config.schema import Config, Model
from ailink.snapshot import model as wire

REDIS: Final = "cache.redis"
"""The credential that is the address of the second tier."""


def policy(model: Model, config: Config) -> wire.CachePolicy:
    """The model's own settings over those of the file."""
    general, own = config.cache, model.cache
    enabled = general.enabled if own.enabled is None else own.enabled
    semantic = general.semantic if general.semantic is not None and general.semantic.enabled else None
    return wire.CachePolicy(
        mode=(own.mode or general.mode) if enabled else "off",
        scope=own.scope or general.scope,
        namespace=own.namespace or general.namespace,
        ttl_ms=int(general.ttl if own.ttl is None else own.ttl),
        stale_ms=int(general.stale if own.stale is None else own.stale),
        pace_ms=int(general.replay_pace if own.replay_pace is None else own.replay_pace),
        semantic=semantic.mode if semantic is not None and own.semantic is not False else "off",
    )


def store(config: Config) -> wire.Cache:
    """The store that all models share; there is none when no model uses it."""
    cache = config.cache
    return wire.Cache(
        enabled=any(policy(model, config).mode != "off" for model in config.models),
        max_bytes=int(cache.max_bytes),
        max_entry_bytes=min(int(cache.max_entry_bytes), int(cache.max_bytes)),
        single_flight=cache.single_flight,
        redis=_redis(cache.redis),
        semantic=_semantic(cache.semantic),
    )


def secrets(config: Config) -> dict[str, bytes]:
    """Credentials of the tiers."""
    redis = config.cache.redis
    return {} if redis is None else {REDIS: redis.url.reveal().encode()}


def _redis(redis: RedisTier | None) -> wire.RedisTier | None:
    if redis is None:
        return None
    return wire.RedisTier(
        credential=REDIS,
        authority=Path(redis.ca_file).read_text() if redis.ca_file is not None else None,
        prefix=redis.prefix,
        timeout_ms=int(redis.timeout),
    )


def _semantic(semantic: Semantic | None) -> wire.Semantic | None:
    if semantic is None or not semantic.enabled:
        return None
    return wire.Semantic(
        directory=semantic.directory,
        embedding_model=semantic.embedding_model,
        threshold=int(semantic.threshold),
        top_k=semantic.top_k,
        judge=semantic.judge,
        timeout_ms=int(semantic.timeout),
        max_entries=semantic.max_entries,
    )
