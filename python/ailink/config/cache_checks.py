"""What the shape of `cache` cannot say."""

from collections.abc import Iterator
from pathlib import Path

from ailink.config.problems import Path as Place
from ailink.config.schema import Config


def cache_faults(config: Config) -> Iterator[tuple[Place, str]]:
    """What is wrong with the tiers of the cache, and where."""
    redis, semantic = config.cache.redis, config.cache.semantic
    if redis is not None:
        path: Place = ("cache", "redis")
        if redis.timeout == 0:
            yield (*path, "timeout"), "must be more than 0"
        if not redis.url.reveal().startswith(("redis://", "rediss://")):
            yield (*path, "url"), "must begin with redis:// or rediss://"
        if redis.ca_file is not None:
            try:
                Path(redis.ca_file).read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                yield (*path, "ca_file"), f"cannot read {redis.ca_file}: {error}"
    if semantic is None or not semantic.enabled:
        return
    path = ("cache", "semantic")
    if semantic.timeout == 0:
        yield (*path, "timeout"), "must be more than 0"
    if (semantic.embedding_model is None) == (semantic.directory is None):
        yield path, "needs either `embedding_model` or `directory`: something that embeds"
    names = {name for model in config.models for name in (model.name, *model.aliases)}
    for key in ("embedding_model", "judge"):
        name = getattr(semantic, key)
        if name is not None and name not in names:
            yield (*path, key), f"there is no model {name!r}"
