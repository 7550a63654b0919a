"""The cache: which answers are kept, for whom, how long."""

from typing import Annotated, Literal, Self

from msgspec import Meta, structs

from ailink.config.identity import Identity
from ailink.config.secret import Secret
from ailink.config.section import Strict
from ailink.config.units import Duration, Similarity, Size

Mode = Literal["on", "opt_in"]
Scope = Literal["key", "user", "team", "organization", "shared"]
_Namespace = Annotated[str, Meta(min_length=1, max_length=128)]


class RedisTier(Strict, frozen=True, kw_only=True):
    """A second tier in Redis or Valkey: kept over restarts, shared by all nodes of one encryption key."""

    url: Secret
    """`redis://[user:password@]host[:port]/database`; `redis+cluster://host,host`;
    `redis+sentinel://host,host/master/database`. With TLS each begins with `rediss`.
    """
    ca_file: str | None = None
    """Certificates of the authority that signed the server's, in PEM; none: those of the web."""
    timeout: Duration = Duration(20)
    """The longest a request waits for the tier; what takes longer is a miss."""
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9:._-]{1,64}$")] = "ailink:cache:"
    """Of the names of all values."""


class ObjectTier(Strict, frozen=True, kw_only=True):
    """A third tier, for long and long-lived answers: a bucket that speaks S3, or a directory."""

    url: Annotated[str, Meta(max_length=1024)]
    """`s3://BUCKET/PREFIX`, or `file:///DIRECTORY`."""
    endpoint: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+/?$")] | None = None
    """Of a store that is not AWS's."""
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """Of the bucket; null: `AWS_REGION`, else `us-east-1`."""
    access_key: Secret | None = None
    """`ID:SECRET`, or `ID:SECRET:TOKEN`."""
    identity: Identity | None = None
    """Instead of a key; without either, what AWS's own places say: environment, profile, platform."""
    timeout: Duration = Duration(500)
    """The longest a request waits for the tier; what takes longer is a miss."""
    min_bytes: Size = Size(64 * 1024)
    """Answers at least as long go there, and not into Redis."""
    min_ttl: Duration = Duration(3_600_000)
    """Answers that are kept at least that long go there as well."""
    max_bytes: Size = Size(10 * 1024 * 1024 * 1024)
    """Of a directory; what was written first goes first. A bucket is not bounded."""


class Semantic(Strict, frozen=True, kw_only=True):
    """Answers to questions that mean the same, beside those to requests that are the same."""

    enabled: bool = True
    mode: Mode = "on"
    """`opt_in`: only for requests that ask for it."""
    embedding_model: str | None = None
    """A model of this gateway that embeds; callers pay for it as for any other request of theirs."""
    directory: str | None = None
    """Of a static model in the layout of model2vec: `tokenizer.json`, `model.safetensors`."""
    threshold: Similarity = Similarity(9_500)
    """Least cosine similarity."""
    top_k: Annotated[int, Meta(ge=1, le=32)] = 4
    """How many of the nearest questions are looked at."""
    judge: str | None = None
    """A model of this gateway that is asked whether both questions have the same answer."""
    timeout: Duration = Duration(2_000)
    """The longest a request waits for its vector, and for a judge."""
    max_entries: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    """Most questions that are remembered; the oldest go first."""


Cacheable = Literal[
    "chat",
    "completions",
    "fim",
    "messages",
    "responses",
    "generate_content",
    "cohere_chat",
    "converse",
    "embeddings",
    "embed_content",
    "batch_embed_contents",
    "cohere_embed",
    "moderations",
    "rerank",
    "images_generations",
    "images_edits",
    "images_variations",
    "audio_transcriptions",
    "audio_translations",
]
"""Endpoints whose answers are kept; streams are those of the endpoint without."""


class ModelCache(Strict, frozen=True, kw_only=True):
    """What a model, or an endpoint, does otherwise than `cache` says."""

    enabled: bool | None = None
    mode: Mode | None = None
    ttl: Duration | None = None
    stale: Duration | None = None
    errors_ttl: Duration | None = None
    scope: Scope | None = None
    namespace: _Namespace | None = None
    replay_pace: Duration | None = None
    semantic: bool | None = None
    semantic_threshold: Similarity | None = None
    """Least cosine similarity; null: that of `cache.semantic`."""


class Exact(Strict, frozen=True, kw_only=True):
    """What may stand in `cache` itself, beside `semantic`. The section turns the cache on."""

    enabled: bool = True
    ttl: Duration | None = None
    max_bytes: Size | None = None
    max_entry_bytes: Size | None = None


class Cache(Strict, frozen=True, kw_only=True):
    """Answers kept in memory for requests that are the same."""

    enabled: bool = False
    """Answers are kept and given again."""
    mode: Mode = "on"
    """`opt_in`: only for requests that ask for it."""
    scope: Scope = "key"
    """Who shares answers. A key that has no user, team or organization shares with nobody. `shared`: all keys
    that may use the model.
    """
    namespace: _Namespace = "default"
    """Of `shared` answers: models that name the same one share them."""
    ttl: Duration = Duration(300_000)
    """How long an answer is given again."""
    stale: Duration = Duration(0)
    """How long behind `ttl` an answer may still be given while a fresh one is fetched."""
    errors_ttl: Duration = Duration(0)
    """How long a provider's refusal of a request (400, 404, 413, 422) is told again; 0: never."""
    max_bytes: Size = Size(64 * 1024 * 1024)
    """Of all answers in memory; the least useful leave first."""
    max_entry_bytes: Size = Size(4 * 1024 * 1024)
    """Longest answer that is kept."""
    single_flight: bool = True
    """Equal requests at the same time wait for the answer to one of them."""
    measure: bool = False
    """The ledger keeps eight bytes of what was asked, so that `GET /cache/savings` can tell what a cache
    would have saved; the cache itself may be off. Costs every request a hash of its body.
    """
    replay_pace: Duration = Duration(0)
    """Between two events of a stream that is replayed; 0: all at once."""
    endpoints: dict[Cacheable, ModelCache] = {}
    """Endpoints that are treated otherwise, whatever the model; a model's own settings go before theirs, but
    what is off here stays off.
    """
    exact: Exact | None = None
    redis: RedisTier | None = None
    objects: ObjectTier | None = None
    semantic: Semantic | None = None

    def settled(self) -> Self:
        """With what `exact` says in its place."""
        if self.exact is None:
            return self
        said = {name: value for name, value in structs.asdict(self.exact).items() if value is not None}
        return structs.replace(self, exact=None, **said)
