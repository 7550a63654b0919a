"""LiteLLM's `cache_params`: each kind runs, or a note says what it comes to."""

from pathlib import Path
from typing import Any, get_args

import pytest

from ailink.config.cache import Cache, Cacheable

MODELS = """\
model_list:
  - {model_name: m, litellm_params: {model: openai/m, api_key: k}}
  - {model_name: embeds, litellm_params: {model: openai/e, api_key: k}}
  - {model_name: text-embedding-ada-002, litellm_params: {model: openai/e, api_key: k}}
"""


def read(load: Any, settings: str, **env: str) -> tuple[Cache, list[str]]:
    loaded = load(f"{MODELS}litellm_settings: {{{settings}}}\n", env, "config.yaml")
    return loaded.config.cache, [note.message for note in loaded.notes]


def params(text: str) -> str:
    return f"cache: true, cache_params: {{{text}}}"


# What is said, the environment, and the address that comes of it.
ADDRESSES: dict[str, tuple[str, dict[str, str], str]] = {
    "host": ("type: redis, host: r", {}, "redis://r:6379/0"),
    "no type": ("host: r, port: 7000", {}, "redis://r:7000/0"),
    "password": ("type: redis, host: r, password: p", {}, "redis://:p@r:6379/0"),
    "a password with signs": ("type: redis, host: r, password: 'p@/ss'", {}, "redis://:p%40%2Fss@r:6379/0"),
    "user": ("type: redis, host: r, username: u, password: p", {}, "redis://u:p@r:6379/0"),
    "TLS": ("type: redis, host: r, ssl: true", {}, "rediss://r:6379/0"),
    "database": ("type: redis, host: r, db: 3", {}, "redis://r:6379/3"),
    "url": ("type: redis, url: 'redis://:p@r:1/2'", {}, "redis://:p@r:1/2"),
    "by reference": (
        "type: redis, host: os.environ/H, port: os.environ/P, password: os.environ/W",
        {"H": "h", "P": "7", "W": "w"},
        "redis://:w@h:7/0",
    ),
    "the environment": (
        "type: redis",
        {"REDIS_HOST": "h", "REDIS_PORT": "7", "REDIS_PASSWORD": "w", "REDIS_SSL": "True"},
        "rediss://:w@h:7/0",
    ),
    "REDIS_URL": ("type: redis", {"REDIS_URL": "rediss://h:7/0"}, "rediss://h:7/0"),
    "a cluster": (
        "type: redis, redis_startup_nodes: [{host: a, port: 7001}, {host: b, port: '7002'}], password: p",
        {},
        "redis+cluster://:p@a:7001,b:7002",
    ),
    "sentinels": (
        "type: redis, service_name: master, sentinel_nodes: [[a, 26379], [b, 26379]]",
        {},
        "redis+sentinel://a:26379,b:26379/master/0",
    ),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses_of_redis(load: Any, name: str) -> None:
    text, env, url = ADDRESSES[name]
    cache, notes = read(load, params(text), **env)
    assert cache.redis is not None
    assert (cache.enabled, cache.redis.url.reveal(), notes) == (True, url, [])


def test_local(load: Any) -> None:
    cache, notes = read(load, params("type: local, ttl: 60, namespace: n, mode: default_off"))
    assert (cache.enabled, cache.mode, cache.ttl, cache.namespace) == (True, "opt_in", 60_000, "n")
    assert (cache.redis, cache.objects, cache.semantic, notes) == (None, None, None, [])


@pytest.mark.parametrize(
    ("kind", "ttl"), [("redis, host: r", 90_000), ("local", 30_000), ("redis, host: r, ttl: 5", 5_000)]
)
def test_times(load: Any, kind: str, ttl: int) -> None:
    times = "default_in_memory_ttl: 30, default_in_redis_ttl: 90"
    if kind == "local":
        times = "default_in_memory_ttl: 30"
    cache, notes = read(load, params(f"type: {kind}, {times}"))
    assert cache.ttl == ttl
    assert all("default_in_memory_ttl" in note or "default_in_redis_ttl" in note for note in notes)


def test_the_time_out(load: Any) -> None:
    cache, notes = read(load, params("type: redis, host: r, socket_timeout: 0.1"))
    assert cache.redis is not None
    assert (cache.redis.timeout, notes) == (100, [])


def test_a_bucket(load: Any) -> None:
    text = (
        "type: s3, s3_bucket_name: my-bucket, s3_path: /under/it/, s3_region_name: eu-west-1,"
        " s3_endpoint_url: 'http://minio:9000', "
        " s3_aws_access_key_id: os.environ/ID, s3_aws_secret_access_key: s"
    )
    cache, notes = read(load, params(text), ID="AK")
    assert cache.objects is not None
    found = cache.objects
    assert (found.url, found.region, found.endpoint) == (
        "s3://my-bucket/under/it",
        "eu-west-1",
        "http://minio:9000",
    )
    assert found.access_key is not None
    assert (found.access_key.reveal(), found.min_bytes, notes) == ("AK:s", 0, [])


@pytest.mark.parametrize("where", ["/var/cache/llm", "relative", ""])
def test_a_disk(load: Any, where: str) -> None:
    said = f", disk_cache_dir: {where}" if where else ""
    cache, notes = read(load, params(f"type: disk{said}"))
    assert cache.objects is not None
    expected = Path(where or ".litellm_cache").absolute()
    assert (cache.objects.url, cache.objects.min_bytes, notes) == (f"file://{expected}", 0, [])


@pytest.mark.parametrize(
    ("text", "model", "threshold", "tiered"),
    [
        ("type: redis-semantic, host: r, similarity_threshold: 0.8", "text-embedding-ada-002", 8_000, True),
        (
            "type: redis-semantic, host: r, redis_semantic_cache_embedding_model: embeds",
            "embeds",
            9_500,
            True,
        ),
        (
            "type: valkey-semantic, host: r, valkey_semantic_cache_embedding_model: embeds",
            "embeds",
            9_500,
            True,
        ),
        (
            "type: qdrant-semantic, qdrant_semantic_cache_embedding_model: embeds, similarity_threshold: 0.9",
            "embeds",
            9_000,
            False,
        ),
    ],
)
def test_similar_questions(load: Any, text: str, model: str, threshold: int, tiered: bool) -> None:
    cache, notes = read(load, params(text))
    assert cache.semantic is not None
    assert (cache.semantic.embedding_model, cache.semantic.threshold) == (model, threshold)
    assert ((cache.redis is not None), notes) == (tiered, [])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("[acompletion, aembedding]", {"chat", "embeddings"}),
        ("[completion, text_completion, responses]", {"chat", "completions", "responses"}),
        ("[atranscription, rerank, anthropic_messages]", {"audio_transcriptions", "rerank", "messages"}),
    ],
)
def test_calls(load: Any, said: str, kept: set[str]) -> None:
    cache, notes = read(load, params(f"type: local, supported_call_types: {said}"))
    off = {name for name, rule in cache.endpoints.items() if rule.enabled is False}
    assert (set(get_args(Cacheable)) - off, notes) == (kept, [])


def test_no_calls_at_all(load: Any) -> None:
    cache, notes = read(load, params("type: redis, host: r, supported_call_types: []"))
    assert (cache.enabled, notes) == (False, [])


@pytest.mark.parametrize("said", ["cache: false", "cache: false, cache_params: {type: redis, host: r}"])
def test_off(load: Any, said: str) -> None:
    cache, _ = read(load, said)
    assert (cache.enabled, cache.redis) == (False, None)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("type: gcs, gcs_bucket_name: b", "a cache of type `gcs` is not supported"),
        ("type: azure-blob", "a cache of type `azure-blob` is not supported"),
        ("type: redis", "there is no address of Redis"),
        ("type: redis, sentinel_nodes: [[a, 1]]", "there is no address of Redis"),
        ("type: redis, host: os.environ/NONE", "environment variable NONE is not set"),
        ("type: redis, host: r, password: os.environ/ODD", "ODD must be percent-encoded"),
        ("type: redis, host: r, max_connections: 5", "`max_connections` is not understood"),
        ("type: redis, host: r, gcp_service_account: x", "`gcp_service_account` is not understood"),
        ("type: s3", "`s3_bucket_name` must be written out"),
        ("type: s3, s3_bucket_name: bucket, s3_verify: false", "`s3_verify` is not understood"),
        ("type: local, ttl: soon", "`ttl` is not understood"),
        ("type: local, supported_call_types: [aimage]", "`aimage` is no call that is cached"),
        (
            "type: qdrant-semantic, qdrant_semantic_cache_embedding_model: nobody",
            "`nobody` is not in the list",
        ),
        ("type: qdrant-semantic, qdrant_api_base: x", "`qdrant_api_base` is not understood"),
        ("type: redis-semantic, host: r, similarity_threshold: 0.2", "less alike than 0.5"),
        ("type: redis-semantic, host: r, semantic_cache_scope: end_user", "`end_user` is not understood"),
    ],
)
def test_what_is_not_understood_is_noted(load: Any, text: str, note: str) -> None:
    cache, notes = read(load, params(text), ODD="p@ss")
    assert cache.enabled
    assert any(note in told for told in notes), notes
