"""What `ailink.yaml` may say. Every default of the product stands here and nowhere else.

The structs are the documentation of the file: a field's docstring says what it does and in which unit it is
kept. `config/reader.py` fills them from the file, `snapshot/compile.py` is the only reader of most of them.
"""

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from ailink.config.alerts import Alerts
from ailink.config.approvals import Approvals
from ailink.config.auto import Auto
from ailink.config.batches import Batches, BatchPlace
from ailink.config.cache import Cache, ModelCache
from ailink.config.capability import Capability
from ailink.config.guardrails import Defaults, Guardrail
from ailink.config.identity import Identity
from ailink.config.limits import Budgets, Limit
from ailink.config.policies import PolicyRule, Recording
from ailink.config.process import Compat, Coordination, Observe
from ailink.config.routing import ModelRouting, Routing
from ailink.config.secret import Secret
from ailink.config.section import Strict as Strict
from ailink.config.units import Duration, PicoUsd, Size, Tree
from ailink.pricing import Service
from ailink.providers import AuthScheme, Operation, StreamUsage
from ailink.providers.vocabulary import SUFFIX

_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Setting = Annotated[str, Meta(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$")]
_Count = Annotated[int, Meta(ge=1, le=10_000_000)]


class Tls(Strict, frozen=True, kw_only=True):
    """Certificate and key as PEM files, read again at SIGHUP."""

    cert_file: _Name
    key_file: _Name


class Limits(Strict, frozen=True, kw_only=True):
    """Bounds of the public listener. Beyond them a request is refused in the caller's dialect."""

    header_bytes: Size = Size(64 * 1024)
    """All headers of a request."""
    header_count: _Count = 100
    header_timeout: Duration = Duration(10_000)
    """From the first byte of a request to the end of its headers."""
    body_bytes: Size = Size(256 * 1024 * 1024)
    """A request body."""
    body_idle: Duration = Duration(30_000)
    """Longest silence while a request body arrives."""
    keepalive_idle: Duration = Duration(75_000)
    """An idle client connection; longer than the 60 s of common load balancers, so that they close first."""
    write_stall: Duration = Duration(60_000)
    """Longest time in which a client takes nothing of its answer."""
    connections: _Count = 16_384
    """Client connections at a time."""
    requests_in_flight: _Count = 4_096
    """Beyond them requests are refused with 503."""
    body_bytes_in_flight: Size | None = None
    """Request bodies in memory, all together; null: a quarter of the memory the process may use."""
    h2_streams: Annotated[int, Meta(ge=1, le=65_535)] = 100
    """Requests at a time on one HTTP/2 connection."""
    shell_in_flight: Annotated[int, Meta(ge=1, le=65_535)] = 64
    """Management requests at a time."""
    session_idle: Duration = Duration(600_000)
    """Longest silence of both sides of a realtime session."""
    session_message: Size = Size(16 * 1024 * 1024)
    """Longest message of either side of a realtime session."""


class Drain(Strict, frozen=True, kw_only=True):
    """How the process leaves."""

    delay: Duration | None = None
    """Between "not ready" and the end of accepting, for load balancers to notice; null: 10 s, loopback 0."""
    timeout: Duration = Duration(600_000)
    """Then running requests may take this long."""


class Ledger(Strict, frozen=True, kw_only=True):
    """The spool of accounting records on disk."""

    segment_slots: Annotated[int, Meta(ge=256, le=1_048_576)] = 4_096
    """Records in one file of the spool."""
    max_bytes: Size = Size(1024 * 1024 * 1024)
    """Of all files; when they are full requests are refused."""
    flush: Duration = Duration(250)
    """How often records become rows."""
    keep: Duration | None = None
    """Attempts that are older are removed, once an hour; their sums per day stay. null: nothing is."""


class Server(Strict, frozen=True, kw_only=True):
    """The public listener and the process."""

    host: _Name = "127.0.0.1"
    """Address; other than loopback it needs an admin credential of one's own."""
    port: Annotated[int, Meta(ge=0, le=65_535)] | None = 4000
    """0: any free port; null: no TCP listener, only `uds`."""
    uds: _Name | None = None
    """Path of a Unix socket, besides the port or in place of it."""
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """I/O threads; 0: as many as there are CPUs for the process."""
    runtime: Literal["per_core", "work_stealing"] = "per_core"
    """`per_core`: a connection stays on its thread; `work_stealing`: threads help each other."""
    node: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Number of this node among nodes that share a ledger."""
    tls: Tls | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For is believed."""
    keepalive_comment: Duration | None = None
    """Silence in a stream after which an SSE comment is sent; null: never."""
    limits: Limits = Limits()
    drain: Drain = Drain()
    ledger: Ledger = Ledger()


class AuthRule(Strict, frozen=True, kw_only=True):
    """How a custom provider takes its credential."""

    scheme: AuthScheme
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")] = "authorization"
    """Of the header or query parameter."""


class Provider(Strict, frozen=True, kw_only=True):
    """A provider of one's own, or changes to one of the catalogue with the same name."""

    title: _Name | None = None
    """For people."""
    dialect: (
        Literal["openai", "openai_chat", "anthropic", "anthropic_messages", "gemini", "cohere", "bedrock"]
        | None
    ) = None
    """The format it speaks."""
    base_url: _Name | None = None
    """Up to what the operations' paths begin with: `https://host/v1`."""
    api_key: Secret | None = None
    """For all its deployments; without it from the environment, as the catalogue names it."""
    credential: _Name | None = None
    """Name of a credential that is kept encrypted in the store."""
    identity: Identity | None = None
    """At a cloud, in place of a key."""
    auth: AuthRule | None = None
    operations: dict[Operation, Annotated[str, Meta(pattern=SUFFIX)]] | None = None
    """Path of each operation it serves."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Sent with every request."""
    stream_usage: StreamUsage | None = None
    """How it tells the usage of streams: when asked (`inject`), always (`builtin`), never."""
    pool_idle: Duration | None = None
    """How long an unused connection is kept."""
    price_family: _Name | None = None
    """Whose prices in the catalogue are its own."""
    pass_through: bool = False
    """Its own paths are served beneath `/NAME/`, for keys that may use `pass_through/NAME/*`."""
    plugin: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """`module:Class` of a provider written in Python. Modules may stand beside the file."""
    options: Tree | None = None
    """What the class is made with: a mapping of anything."""


class PriceRates(Strict, frozen=True, kw_only=True):
    """US dollars per 1,000,000 tokens of each class. Kept exactly, in pico-USD. A class without a price costs
    what it is a part of: cached and audio input as `input`, reasoning as `output`, and so on.
    """

    input_per_million: PicoUsd | None = None
    output_per_million: PicoUsd | None = None
    cache_read_per_million: PicoUsd | None = None
    cache_write_per_million: PicoUsd | None = None
    cache_write_long_per_million: PicoUsd | None = None
    """Written to be kept for an hour."""
    audio_input_per_million: PicoUsd | None = None
    audio_output_per_million: PicoUsd | None = None
    cache_read_audio_per_million: PicoUsd | None = None
    image_input_per_million: PicoUsd | None = None
    image_output_per_million: PicoUsd | None = None
    cache_read_image_per_million: PicoUsd | None = None
    reasoning_per_million: PicoUsd | None = None


class PriceTier(PriceRates, frozen=True, kw_only=True):
    """Prices of requests whose prompt has more than `above` tokens."""

    above: Annotated[int, Meta(ge=1, le=1_000_000_000)]
    """Tokens of the prompt."""


class ServicePrice(PriceRates, frozen=True, kw_only=True):
    """Prices of a service where they differ from the standard's."""

    tiers: tuple[PriceTier, ...] = ()


class Price(PriceRates, frozen=True, kw_only=True):
    """What a model costs, instead of the catalogue's price."""

    per_request: PicoUsd | None = None
    per_search: PicoUsd | None = None
    per_image: PicoUsd | None = None
    per_second: PicoUsd | None = None
    per_character: PicoUsd | None = None
    tiers: tuple[PriceTier, ...] = ()
    services: dict[Service, ServicePrice] = msgspec.field(default_factory=dict)


class Timeouts(Strict, frozen=True, kw_only=True):
    """Per attempt; null: taken from the model, then from DEFAULT_TIMEOUTS."""

    connect: Duration | None = None
    """Name, TCP and TLS."""
    first_byte: Duration | None = None
    """From the request's last byte to the answer's first."""
    idle: Duration | None = None
    """Longest silence within the answer."""
    total: Duration | None = None
    """Of the whole attempt."""


DEFAULT_TIMEOUTS: Final = Timeouts(
    connect=Duration(5_000), first_byte=Duration(120_000), idle=Duration(90_000), total=Duration(3_600_000)
)


class Deployment(Strict, frozen=True, kw_only=True):
    """One place where a model can be had."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] | None = None
    """Stable name in the ledger and metrics; null: derived from what identifies the deployment."""
    provider: _Name
    """One of the catalogue or of `providers`."""
    model: _Name | None = None
    """Its name at the provider; null: the same as the model's."""
    api_key: Secret | None = None
    """In place of the provider's."""
    api_keys: tuple[Secret, ...] = ()
    """Several keys in place of one, used in turn. One that is refused or limited rests while others serve."""
    credential: _Name | None = None
    """Name of a credential in the store."""
    identity: Identity | None = None
    base_url: _Name | None = None
    """In place of the provider's."""
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """Fills `{region}` in the provider's URLs, as the next three fill theirs."""
    account: _Setting | None = None
    """The resource, workspace or account at a provider that has many."""
    project: _Setting | None = None
    api_version: _Setting | None = None
    zero_data_retention: bool = False
    """Its provider keeps nothing of what it is asked: that is agreed with it, nobody can look."""
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    """Its share of requests among those that may serve."""
    order: Annotated[int, Meta(ge=0, le=1_000)] = 0
    """Deployments of a lower order go first; the others are asked when those are out or have failed."""
    provisioned: bool = False
    """Capacity that is paid for whether it is used or not: goes before all others of its region. What it
    has no room for (429) goes on to others at once, which is no retry.
    """
    service_tier: Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,31}$")] | None = None
    """What is asked of the provider, such as `flex` or `priority`, whatever the caller says. What it has no
    room for goes on to others, too.
    """
    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    """It serves while this group of the model does; without one always."""
    voices: dict[_Name, _Name] = msgspec.field(default_factory=dict)
    """What names of voices stand for at a provider with names of its own, over those of its row."""
    tags: tuple[_Name, ...] = ()
    """What requests may ask for with `x-ailink-tags` or `metadata.tags`."""
    rpm: Annotated[int, Meta(ge=1)] | None = None
    """Requests and tokens a minute it is good for: what the strategy `usage` measures it by."""
    tpm: Annotated[int, Meta(ge=1)] | None = None
    capabilities: tuple[Capability, ...] | None = None
    """All of these that it can do; null: as the catalogue says. Requests that need others go elsewhere."""
    context_window: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    """Most tokens of a prompt, and of an answer; null: as the catalogue says."""
    max_output: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    price: Price | None = None
    timeouts: Timeouts = Timeouts()
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Sent besides the provider's."""
    max_connections: _Count = 4_096
    """To its host, at a time."""
    discover: bool = False
    """Behind a model name with a `*`: its server is asked what it serves, and asked for that alone."""
    discover_every: Duration = Duration(60_000)
    """How often it is asked."""
    batch: BatchPlace | None = None
    """Where its batches go, as far as the provider does not say it."""
    public_only: bool = False
    """Connections are refused while its host has an address that is not public."""


class Model(Strict, frozen=True, kw_only=True):
    """What clients ask for. A `*` in the name stands for what follows, or goes before, in the name a client
    asks for, and takes the place of the `*` in the deployments' `model`.
    """

    name: _Name
    """As clients say it."""
    deployments: tuple[Deployment, ...] = ()
    auto: Auto | None = None
    """Other models, in place of deployments, of which each request goes to the one that suits it."""
    price: Price | None = None
    group: _Name | None = None
    """The group of deployments that serves until another is switched to; null: the first that is named."""
    fallbacks: tuple[str, ...] = ()
    """Models asked, in this order, when no deployment of this one could answer."""
    context_window_fallbacks: tuple[str, ...] = ()
    """Instead of `fallbacks` when the prompt is too long."""
    content_policy_fallbacks: tuple[str, ...] = ()
    """Instead of `fallbacks` when the provider's filter refused."""
    rate_limit_fallbacks: tuple[str, ...] = ()
    """Instead of `fallbacks` when the providers' rate limits are reached."""
    cost_fallbacks: tuple[str, ...] = ()
    """Asked when a request may cost more than is left of a budget, or than `routing.max_cost`."""
    replacement: _Name | None = None
    """The model that is asked in its place from the day behind the one on which its provider ends it."""
    timeouts: Timeouts = Timeouts()
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """Attempts after the first, other deployments included; finer in `routing.retry`."""
    routing: ModelRouting = ModelRouting()
    cache: ModelCache = ModelCache()
    prompt_caching: bool = False
    """Beginnings of prompts that come again are marked for Anthropic and Bedrock to keep."""
    aliases: tuple[_Name, ...] = ()
    """Other names of it."""
    guardrails: tuple[_Name, ...] = ()
    """Besides those of `defaults`."""
    policies: tuple[_Name, ...] = ()
    """Besides those of `defaults` and of the caller."""
    owned_by: _Name | None = None
    """What lists of models say."""
    mode: _Name = "chat"
    """What it is for, in lists of models: `chat`, `embedding`, …"""

    @property
    def is_wildcard(self) -> bool:
        return "*" in self.name


class Config(Strict, frozen=True, kw_only=True):
    """The whole file."""

    reserved: ClassVar[frozenset[str]] = frozenset({"agents", "mcp", "plugins"} | {"secrets"})

    server: Server = Server()
    data_dir: _Name = ".ailink"
    """Databases, spool, sockets and generated keys; relative to the file."""
    master_key: Secret | None = None
    """The administrator's bearer key; null: generated into `data_dir/admin.key`."""
    encryption_key: Secret | None = None
    """Encrypts provider keys at rest; null: generated into `data_dir`."""
    database_url: _Name = "sqlite:///ailink.db"
    """`sqlite:///file`, relative to `data_dir`, or `postgresql://user:password@host/database`."""
    redis_url: Secret | None = None
    """Redis or Valkey, between several nodes: `redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://`."""
    coordination: Coordination = Coordination()
    providers: dict[str, Provider] = msgspec.field(default_factory=dict)
    models: tuple[Model, ...] = ()
    prices: tuple[_Name, ...] = ()
    """Price files that stand over the catalogue that ships, the first over the next; relative to the file."""
    routing: Routing = Routing()
    limits: tuple[Limit, ...] = ()
    """Rates of the gateway, its models, providers and deployments."""
    budgets: Budgets = Budgets()
    batches: Batches = Batches()
    """Files and batches."""
    approvals: Approvals = Approvals()
    alerts: Alerts = Alerts()
    """Who is told of soft limits and of shares of budgets that were passed."""
    guardrails: tuple[Guardrail, ...] = ()
    policies: tuple[PolicyRule, ...] = ()
    calendars: dict[_Name, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Days, YYYY-MM-DD, by the name that `calendar.NAME` asks for."""
    recording: Recording = Recording()
    defaults: Defaults = Defaults()
    cache: Cache = Cache()
    observe: Observe = Observe()
    compat: Compat = Compat()
    include: tuple[_Name, ...] = ()
    """Other files of the same shape, relative to the one that names them; merged by the loader."""


def routers_of(config: Config) -> dict[str, str]:
    """The trained routers in use, by the model that asks for one."""
    return {model.name: model.auto.router for model in config.models if model.auto and model.auto.router}
