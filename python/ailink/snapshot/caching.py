"""How the cache takes part in the requests of each model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ailink.config.cache import ModelCache, ObjectTier, RedisTier, Semantic
from ailink.config.identity import AwsIdentity, Identity
from ailink.config.schema import Config, Model
from ailink.snapshot import model as wire

NOTHING: Final = ModelCache()
"""An endpoint that is treated as all others."""

REDIS: Final = "cache.redis"
"""The credential that is the address of the second tier."""
OBJECTS: Final = "cache.objects"
"""The credential that is the access key of the third."""
REGION: Final = "us-east-1"


def policy(model: Model, config: Config, endpoint: ModelCache = NOTHING) -> wire.CachePolicy:
    """The model's own settings over those of the endpoint, over those of the file. What the model or the
    endpoint switches off is off.
    """
    general, own = config.cache.settled(), model.cache
    switches = (own.enabled, endpoint.enabled)
    enabled = False not in switches and (True in switches or general.enabled)
    semantic = general.semantic if general.semantic is not None and general.semantic.enabled else None
    means = semantic is not None and False not in (own.semantic, endpoint.semantic)
    least = None if semantic is None else semantic.threshold
    return wire.CachePolicy(
        mode=(own.mode or endpoint.mode or general.mode) if enabled else "off",
        scope=own.scope or endpoint.scope or general.scope,
        namespace=own.namespace or endpoint.namespace or general.namespace,
        ttl_ms=_first(own.ttl, endpoint.ttl, general.ttl),
        stale_ms=_first(own.stale, endpoint.stale, general.stale),
        errors_ms=_first(own.errors_ttl, endpoint.errors_ttl, general.errors_ttl),
        pace_ms=_first(own.replay_pace, endpoint.replay_pace, general.replay_pace),
        semantic=semantic.mode if semantic is not None and means else "off",
        threshold=_first(own.semantic_threshold, endpoint.semantic_threshold, least) if means else 0,
    )


def by_endpoint(model: Model, config: Config) -> dict[str, wire.CachePolicy]:
    """Policies of the endpoints that have one of their own."""
    general = policy(model, config)
    named = {name: policy(model, config, own) for name, own in config.cache.endpoints.items()}
    return {name: found for name, found in named.items() if found != general}


def _first(*values: int | None) -> int:
    return next((int(value) for value in values if value is not None), 0)


def store(config: Config, env: Mapping[str, str]) -> wire.Cache:
    """The store that all models share; none when no model uses it. `env`: where a region may stand."""
    cache = config.cache.settled()
    return wire.Cache(
        enabled=any(
            found.mode != "off"
            for model in config.models
            for found in (policy(model, config), *by_endpoint(model, config).values())
        ),
        max_bytes=int(cache.max_bytes),
        max_entry_bytes=min(int(cache.max_entry_bytes), int(cache.max_bytes)),
        single_flight=cache.single_flight,
        measure=cache.measure,
        redis=_redis(cache.redis),
        objects=_objects(cache.objects, env),
        semantic=_semantic(cache.semantic),
    )


def secrets(config: Config) -> dict[str, bytes]:
    """Credentials of the tiers."""
    redis, objects = config.cache.redis, config.cache.objects
    found = {} if redis is None else {REDIS: redis.url.reveal().encode()}
    if objects is not None and objects.access_key is not None:
        found[OBJECTS] = objects.access_key.reveal().encode()
    return found


def identities(config: Config) -> dict[str, Identity]:
    """Identities that credentials of the tiers are made of."""
    objects = config.cache.objects
    if objects is None or objects.access_key is not None or objects.url.startswith("file:"):
        return {}
    return {OBJECTS: objects.identity or Identity(aws=AwsIdentity())}


def _redis(redis: RedisTier | None) -> wire.RedisTier | None:
    if redis is None:
        return None
    return wire.RedisTier(
        credential=REDIS,
        authority=Path(redis.ca_file).read_text() if redis.ca_file is not None else None,
        prefix=redis.prefix,
        timeout_ms=int(redis.timeout),
    )


def _objects(objects: ObjectTier | None, env: Mapping[str, str]) -> wire.ObjectTier | None:
    if objects is None:
        return None
    region = objects.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or REGION
    name, _, prefix = objects.url.removeprefix("s3://").partition("/")
    directory = objects.url.removeprefix("file://") if objects.url.startswith("file:") else None
    return wire.ObjectTier(
        directory=directory,
        bucket=_bucket(name, region, objects.endpoint) if directory is None else None,
        region=region,
        credential=OBJECTS,
        prefix=f"{prefix.strip('/')}/" if directory is None and prefix.strip("/") else "",
        timeout_ms=int(objects.timeout),
        min_bytes=int(objects.min_bytes),
        min_ttl_ms=int(objects.min_ttl),
        max_bytes=int(objects.max_bytes),
    )


def _bucket(name: str, region: str, endpoint: str | None) -> str:
    if endpoint is not None:
        return f"{endpoint.rstrip('/')}/{name}"
    # A certificate for all buckets holds for one label.
    if "." in name:
        return f"https://s3.{region}.amazonaws.com/{name}"
    return f"https://{name}.s3.{region}.amazonaws.com"


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
