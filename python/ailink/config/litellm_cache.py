"""LiteLLM's `cache` and `cache_params` → our `cache`.

Kinds that are stores of their own become tiers beneath memory; where one cannot be reached from here,
answers are kept in memory alone, and a note says so. Facts: https://docs.litellm.ai/docs/proxy/caching.
"""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from pathlib import Path as File
from typing import Final, get_args
from urllib.parse import quote

from ailink.config import yaml12
from ailink.config.cache import Cacheable
from ailink.config.expand import escape
from ailink.config.litellm_models import ENV_PREFIX, Notes, quoted, scalar_text, seconds
from ailink.config.problems import Path, Place
from ailink.config.yaml12 import Mapping as MappingNode
from ailink.config.yaml12 import Node, Scalar
from ailink.config.yaml12 import Sequence as SequenceNode

_PATH: Final = ("litellm_settings",)
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_EMBEDDER: Final = "text-embedding-ada-002"
"""LiteLLM's, where none is named."""
_DISK: Final = ".litellm_cache"
_KINDS: Final = frozenset(
    {"local", "redis", "redis-semantic", "valkey-semantic", "qdrant-semantic", "s3", "disk"}
)
_SEMANTIC: Final = frozenset({"redis-semantic", "valkey-semantic", "qdrant-semantic"})
_REDIS: Final = frozenset({"redis", "redis-semantic", "valkey-semantic"})
_CALLS: Final = {
    "completion": ("chat",),
    "text_completion": ("completions",),
    "embedding": ("embeddings",),
    "transcription": ("audio_transcriptions",),
    "rerank": ("rerank",),
    "responses": ("responses",),
    "anthropic_messages": ("messages",),
}
_CONNECTION: Final = ("url", "host", "port", "username", "password", "db", "ssl")
"""Of `cache_params`; what is left out may stand in the environment as `REDIS_…`."""
_LEAST: Final = 5_000
"""The lowest threshold that there is here, in ten-thousandths."""

Entries = dict[str, Node]


def cache(
    settings: MappingNode, models: Collection[str], env: Mapping[str, str], notes: Notes
) -> MappingNode | None:
    """`settings`: `litellm_settings`; `models`: the names of those in the file. None: no cache is set."""
    if "cache" in settings.entries:
        return _Cache(settings, models, env, notes).read()
    if "cache_params" in settings.entries:
        notes.unknown((*_PATH, "cache_params"), settings.keys["cache_params"])
    return None


class _Cache:
    def __init__(
        self, settings: MappingNode, models: Collection[str], env: Mapping[str, str], notes: Notes
    ) -> None:
        self._models = models
        self._enabled = settings.entries["cache"]
        self._place = self._enabled.place
        self._env = env
        self._notes = notes
        self._path: Path = (*_PATH, "cache_params")
        params = settings.entries.get("cache_params")
        self._params = params if isinstance(params, MappingNode) else None
        if params is not None and self._params is None and scalar_text(params) not in {"", "null", "~"}:
            notes.unknown(self._path, params.place)
        self._read: set[str] = {"type"}

    def read(self) -> MappingNode:
        kind = self._text("type") or "redis"
        found: Entries = {"enabled": self._enabled}
        if self._text("mode") == "default_off":
            found["mode"] = self._plain("opt_in")
        if (ttl := self._ttl(kind)) is not None:
            found["ttl"] = ttl
        if (namespace := self._node("namespace")) is not None and scalar_text(namespace):
            found["namespace"] = namespace
        found |= self._calls()
        if scalar_text(self._enabled) in _TRUE:
            found |= self._tiers(kind)
        self._rest()
        return _mapping(self._place, found)

    def _tiers(self, kind: str) -> Entries:
        if kind not in _KINDS:
            text = (
                f"a cache of type `{kind}` is not supported in this version: answers are kept in memory alone"
            )
            self._notes.add((*self._path, "type"), self._place, text)
            return {}
        found: Entries = {}
        makers: dict[str, Callable[[], Entries]] = {"s3": self._bucket, "disk": self._directory}
        if kind in _REDIS:
            found |= self._redis()
        elif kind in makers:
            found |= makers[kind]()
        if kind in _SEMANTIC:
            found |= self._semantic(kind.partition("-")[0])
        return found

    def _node(self, name: str) -> Node | None:
        self._read.add(name)
        return self._params.entries.get(name) if self._params is not None else None

    def _text(self, name: str) -> str | None:
        node = self._node(name)
        return None if node is None else scalar_text(node)

    def _plain(self, text: str) -> Scalar:
        return Scalar(place=self._place, text=text, plain=True)

    def _ttl(self, kind: str) -> Scalar | None:
        own = "default_in_redis_ttl" if kind in _REDIS else "default_in_memory_ttl"
        for name in ("ttl", own):
            node = self._node(name)
            if node is not None and scalar_text(node) not in {"", "null", "~"}:
                return seconds(node, (*self._path, name), self._notes)
        return None

    def _calls(self) -> Entries:
        node = self._node("supported_call_types")
        if not isinstance(node, SequenceNode):
            return {}
        if not node.items:
            # LiteLLM's way to have Redis without a cache of answers.
            return {"enabled": self._plain("false")}
        wanted: set[str] = set()
        for index, item in enumerate(node.items):
            name = scalar_text(item) or ""
            known = _CALLS.get(name) or _CALLS.get(name.removeprefix("a"))
            if known is None:
                here = (*self._path, "supported_call_types", index)
                self._notes.add(here, item.place, f"`{name}` is no call that is cached")
            wanted |= set(known or ())
        off = _mapping(node.place, {"enabled": self._plain("false")})
        return {"endpoints": _mapping(node.place, {n: off for n in get_args(Cacheable) if n not in wanted})}

    def _said(self, name: str, variable: str | None) -> Scalar | None:
        """A setting of LiteLLM's as one of ours, else what the environment says."""
        node = self._node(name)
        if node is not None and scalar_text(node) not in {"", "null", "~"}:
            return self._notes.reference(node, (*self._path, name), self._env)
        if variable is not None and self._env.get(variable):
            return Scalar(place=self._place, text=f"${{{variable}}}", plain=False)
        return None

    def _part(self, name: str, variable: str) -> str | None:
        """Part of an address. What would have to be written otherwise in one is noted: None."""
        found = self._said(name, variable)
        if found is None:
            return None
        text = found.text
        if text.startswith("${"):
            value = self._env.get(text[2:-1], "")
            if quote(value, safe="") != value:
                self._notes.add(
                    (*self._path, name),
                    found.place,
                    f"the value of {text[2:-1]} must be percent-encoded to stand in `url`",
                )
                return None
            return text
        return escape(quote(self._text(name) or "", safe=""))

    def _redis(self) -> Entries:
        for name in _CONNECTION:
            self._node(name)
        nodes = self._node("redis_startup_nodes") or self._node("sentinel_nodes")
        if nodes is not None:
            url = self._set_of(nodes)
        elif (given := self._said("url", "REDIS_URL")) is not None:
            url = given.text
        else:
            url = self._address()
        if url is None:
            text = "there is no address of Redis: answers are kept in memory alone"
            self._notes.add(self._path, self._place, text)
            return {}
        tier: Entries = {"url": Scalar(place=self._place, text=url, plain=False)}
        waits = self._node("socket_timeout")
        if waits is not None and (limit := seconds(waits, (*self._path, "socket_timeout"), self._notes)):
            tier["timeout"] = limit
        return {"redis": _mapping(self._place, tier)}

    def _scheme(self) -> str:
        ssl = self._text("ssl") or self._env.get("REDIS_SSL", "")
        return "rediss" if ssl in _TRUE else "redis"

    def _login(self) -> str:
        user, password = self._part("username", "REDIS_USERNAME"), self._part("password", "REDIS_PASSWORD")
        return f"{user or ''}:{password}@" if password else ""

    def _address(self) -> str | None:
        host = self._said("host", "REDIS_HOST")
        if host is None:
            return None
        port = self._said("port", "REDIS_PORT")
        base = self._text("db") or "0"
        return f"{self._scheme()}://{self._login()}{host.text}:{port.text if port else 6379}/{base}"

    def _set_of(self, nodes: Node) -> str | None:
        """A cluster, or sentinels: lists of hosts and ports."""
        places = []
        for item in nodes.items if isinstance(nodes, SequenceNode) else []:
            if isinstance(item, MappingNode):
                pair = [item.entries.get("host"), item.entries.get("port")]
            else:
                pair = list(item.items[:2]) if isinstance(item, SequenceNode) else []
            texts = [scalar_text(node) if node is not None else None for node in pair]
            if len(texts) == 2 and all(texts):
                places.append(f"{texts[0]}:{texts[1]}")
        if not places:
            return None
        hosts = ",".join(places)
        if self._node("redis_startup_nodes") is not None:
            return f"{self._scheme()}+cluster://{self._login()}{hosts}"
        master = self._text("service_name")
        return f"{self._scheme()}+sentinel://{self._login()}{hosts}/{master}/0" if master else None

    def _bucket(self) -> Entries:
        names = ("s3_aws_access_key_id", "s3_aws_secret_access_key", "s3_aws_session_token")
        bucket, under = self._text("s3_bucket_name"), self._text("s3_path")
        if not bucket or bucket.startswith(ENV_PREFIX):
            text = "`s3_bucket_name` must be written out: answers are kept in memory alone"
            self._notes.add(self._path, self._place, text)
            return {}
        under = f"/{under.strip('/')}" if under else ""
        # All answers go there, as they do with LiteLLM.
        tier: Entries = {"url": quoted(self._place, f"s3://{bucket}{under}"), "min_bytes": self._plain("0")}
        for ours, theirs in (("region", "s3_region_name"), ("endpoint", "s3_endpoint_url")):
            if (said := self._said(theirs, None)) is not None:
                tier[ours] = said
        keys = [said for name in names if (said := self._said(name, None)) is not None]
        if len(keys) >= 2:
            text = ":".join(said.text for said in keys)
            tier["access_key"] = Scalar(place=self._place, text=text, plain=False)
        return {"objects": _mapping(self._place, tier)}

    def _directory(self) -> Entries:
        # Relative to where the process runs, as there.
        place = File(self._text("disk_cache_dir") or _DISK).absolute()
        url = quoted(self._place, f"file://{place}")
        return {"objects": _mapping(self._place, {"url": url, "min_bytes": self._plain("0")})}

    def _semantic(self, store: str) -> Entries:
        prefix = f"{store}_semantic_cache_embedding_model"
        model = self._said(prefix, None) or quoted(self._place, _EMBEDDER)
        found: Entries = {"embedding_model": model}
        node = self._node("similarity_threshold")
        value = yaml12.resolve(node.text) if isinstance(node, Scalar) else None
        if isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 <= value <= 1:
            if value * 10_000 < _LEAST:
                here = (*self._path, "similarity_threshold")
                self._notes.add(here, self._place, "answers to questions less alike than 0.5 are never given")
            found["threshold"] = self._plain(str(max(Decimal(value), Decimal(_LEAST) / 10_000)))
        if (scope := self._text("semantic_cache_scope")) not in {None, "key"}:
            here = (*self._path, "semantic_cache_scope")
            self._notes.add(here, self._place, f"`{scope}` is not understood: `cache.scope` says who shares")
        if model.text not in self._models:
            text = f"the model `{model.text}` is not in the list: only equal requests are answered alike"
            self._notes.add((*self._path, prefix), self._place, text)
            return {}
        return {"semantic": _mapping(self._place, found)}

    def _rest(self) -> None:
        if self._params is None:
            return
        for name, place in self._params.keys.items():
            if name not in self._read:
                self._notes.unknown((*self._path, name), place)


def _mapping(place: Place, entries: Mapping[str, Node]) -> MappingNode:
    return MappingNode(
        place=place, entries=dict(entries), keys={key: node.place for key, node in entries.items()}
    )
