"""What the shape of `cache` cannot say."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ailink.config.cache import Cache
from ailink.config.identity import identity_fault
from ailink.config.problems import Path as Place
from ailink.config.schema import Config
from ailink.config.store_checks import REDIS_SCHEMES

_BUCKET: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[A-Za-z0-9._/-]{0,512})?")
"""Names of buckets, and prefixes that travel as they are."""


def cache_faults(config: Config) -> Iterator[tuple[Place, str]]:
    """What is wrong with the tiers of the cache, and where."""
    yield from _exact_faults(config)
    yield from _redis_faults(config)
    yield from _object_faults(config)
    yield from _semantic_faults(config)


def _exact_faults(config: Config) -> Iterator[tuple[Place, str]]:
    cache, plain = config.cache, Cache()
    for name in () if cache.exact is None else ("ttl", "max_bytes", "max_entry_bytes"):
        value = getattr(cache.exact, name)
        if value == 0:
            yield ("cache", "exact", name), "must be more than 0"
        elif value is not None and getattr(cache, name) not in (getattr(plain, name), value):
            yield ("cache", "exact", name), f"`cache.{name}` says something else: give one of them"


def _redis_faults(config: Config) -> Iterator[tuple[Place, str]]:
    redis = config.cache.redis
    if redis is not None:
        path: Place = ("cache", "redis")
        if redis.timeout == 0:
            yield (*path, "timeout"), "must be more than 0"
        scheme, _, rest = redis.url.reveal().partition("://")
        if scheme not in REDIS_SCHEMES:
            yield (*path, "url"), "must begin with redis:// or rediss://, or name sentinels or a cluster"
        elif scheme.endswith("+sentinel") and not rest.partition("/")[2].partition("/")[0]:
            yield (*path, "url"), "name the master: redis+sentinel://HOST:26379/MASTER/0"
        if redis.ca_file is not None:
            try:
                Path(redis.ca_file).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                yield (*path, "ca_file"), f"cannot read {redis.ca_file}: {error}"


def _object_faults(config: Config) -> Iterator[tuple[Place, str]]:
    objects = config.cache.objects
    if objects is None:
        return
    path: Place = ("cache", "objects")
    if objects.timeout == 0:
        yield (*path, "timeout"), "must be more than 0"
    if objects.url.startswith("file://"):
        if not objects.url.startswith("file:///") or objects.url == "file:///":
            yield (*path, "url"), "expected `file:///DIRECTORY`, an absolute path"
        for key in ("endpoint", "region", "access_key", "identity"):
            if getattr(objects, key) is not None:
                yield (*path, key), "is for a bucket, and `url` names a directory"
        if objects.max_bytes == 0:
            yield (*path, "max_bytes"), "must be more than 0"
        return
    if _BUCKET.fullmatch(objects.url) is None or "//" in objects.url.removeprefix("s3://"):
        text = "expected `s3://BUCKET/PREFIX` (letters, digits and `-._/`), or `file:///DIRECTORY`"
        yield (*path, "url"), text
    if objects.access_key is not None:
        if objects.identity is not None:
            yield (*path, "identity"), "give `identity` or `access_key`, not both"
        if not all(objects.access_key.reveal().partition(":")[::2]):
            yield (*path, "access_key"), "expected `ID:SECRET` or `ID:SECRET:TOKEN`"
    if objects.identity is not None:
        if objects.identity.aws is None:
            yield (*path, "identity"), "takes identities of `aws`"
        elif (fault := identity_fault(objects.identity)) is not None:
            yield (*path, "identity", *filter(None, fault[0].split("."))), fault[1]


def _semantic_faults(config: Config) -> Iterator[tuple[Place, str]]:
    semantic = config.cache.semantic
    if semantic is None or not semantic.enabled:
        return
    path: Place = ("cache", "semantic")
    if semantic.timeout == 0:
        yield (*path, "timeout"), "must be more than 0"
    if (semantic.embedding_model is None) == (semantic.directory is None):
        yield path, "needs either `embedding_model` or `directory`: something that embeds"
    names = {name for model in config.models for name in (model.name, *model.aliases)}
    for key in ("embedding_model", "judge"):
        name = getattr(semantic, key)
        if name is not None and name not in names:
            yield (*path, key), f"there is no model {name!r}"
