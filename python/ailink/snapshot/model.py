"""What is sent to the data plane, as MessagePack maps. Field names and units are the wire: the data plane's
`snapshot.rs` decodes exactly these, and a golden test holds both to it. No defaults here: they stand in
`config/schema.py`.
"""

from typing import Final, Literal

import msgspec

from ailink.providers import AuthScheme, Dialect, Operation, StreamUsage
from ailink.providers.wording import Place

SCHEMA: Final = 1
"""Raised with every change of `Snapshot` that an older data plane would misread."""


class _Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Listen(_Wire, frozen=True, kw_only=True):
    """`host` empty: no TCP listener. `fds`: inherited listening sockets, used instead of binding."""

    host: str
    port: int
    uds: str | None
    fds: list[int]


class Tls(_Wire, frozen=True, kw_only=True):
    cert_file: str
    key_file: str


class Limits(_Wire, frozen=True, kw_only=True):
    """Counts, bytes and milliseconds."""

    header_bytes: int
    header_count: int
    header_timeout_ms: int
    body_bytes: int
    body_idle_ms: int
    keepalive_idle_ms: int
    write_stall_ms: int
    connections: int
    requests_in_flight: int
    body_bytes_in_flight: int
    h2_streams: int
    shell_in_flight: int
    session_idle_ms: int
    session_message_bytes: int


class Drain(_Wire, frozen=True, kw_only=True):
    delay_ms: int
    timeout_ms: int


class Ledger(_Wire, frozen=True, kw_only=True):
    segment_slots: int
    max_bytes: int
    flush_ms: int


class Repeats(_Wire, frozen=True, kw_only=True):
    """Where nodes tell one another of requests with a key of their own. `authority`: certificates in PEM."""

    url: str
    authority: str | None
    timeout_ms: int


class PlaneOptions(_Wire, frozen=True, kw_only=True):
    """Fixed for the life of the process. `threads` 0: the CPUs available to it. `pepper`: 32 bytes."""

    threads: int
    node: int
    runtime: Literal["per_core", "work_stealing"]
    data_dir: str
    shell_socket: str
    pepper: bytes
    listen: Listen
    tls: Tls | None
    limits: Limits
    drain: Drain
    trusted_proxies: list[str]
    ledger: Ledger
    shared_limits: bool
    shared_store: bool
    repeats: Repeats | None


class Settings(_Wire, frozen=True, kw_only=True):
    """`keepalive_comment_ms` 0: no comments."""

    keepalive_comment_ms: int
    restamp_model: bool
    assumed_output: int
    budget_status: int
    explain_header: bool
    explain_keep: int
    explain_percent: int
    block_status: int


class RedisTier(_Wire, frozen=True, kw_only=True):
    """The second tier of the cache. `credential`: its address; `authority`: certificates in PEM."""

    credential: str
    authority: str | None
    prefix: str
    timeout_ms: int


class ObjectTier(_Wire, frozen=True, kw_only=True):
    """The third tier of the cache: a directory, or a bucket's address; its access key is a credential."""

    directory: str | None
    bucket: str | None
    region: str
    credential: str
    prefix: str
    timeout_ms: int
    min_bytes: int
    min_ttl_ms: int
    max_bytes: int


class Semantic(_Wire, frozen=True, kw_only=True):
    """Answers to similar questions. `threshold`: in ten-thousandths."""

    directory: str | None
    embedding_model: str | None
    threshold: int
    top_k: int
    judge: str | None
    timeout_ms: int
    max_entries: int


class Cache(_Wire, frozen=True, kw_only=True):
    """The store of answers that all models share."""

    enabled: bool
    max_bytes: int
    max_entry_bytes: int
    single_flight: bool
    measure: bool
    redis: RedisTier | None
    objects: ObjectTier | None
    semantic: Semantic | None


class CachePolicy(_Wire, frozen=True, kw_only=True):
    """How the cache takes part in a model's requests. `namespace`: of the scope `shared`. `threshold`: least
    similarity in ten-thousandths; 0: none.
    """

    mode: Literal["off", "on", "opt_in"]
    scope: Literal["key", "user", "team", "organization", "shared"]
    namespace: str
    ttl_ms: int
    stale_ms: int
    errors_ms: int
    pace_ms: int
    semantic: Literal["off", "on", "opt_in"]
    threshold: int


class Auth(_Wire, frozen=True, kw_only=True):
    """`region`: what requests are signed for, where the scheme is `sigv4` and `name` the service."""

    scheme: AuthScheme
    name: str
    region: str | None


class Rates(_Wire, frozen=True, kw_only=True):
    """Pico-USD per 1,000,000 tokens of each class. None: the source names no such price."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    cache_write_long: int | None
    audio_input: int | None
    audio_output: int | None
    cache_read_audio: int | None
    image_input: int | None
    image_output: int | None
    cache_read_image: int | None
    reasoning: int | None


class Tier(_Wire, frozen=True, kw_only=True):
    """Rates for prompts of more than `above` tokens."""

    above: int
    rates: Rates


class ServiceRates(_Wire, frozen=True, kw_only=True):
    """Rates of a service where they differ from the standard's."""

    service: Literal["batch", "flex", "priority", "ultrafast"]
    rates: Rates
    tiers: list[Tier]


class Price(_Wire, frozen=True, kw_only=True):
    """`per_request` in pico-USD, other units per 1,000,000. The data plane fills the gaps."""

    rates: Rates
    tiers: list[Tier]
    services: list[ServiceRates]
    per_request: int | None
    per_search: int | None
    per_image: int | None
    per_second: int | None
    per_character: int | None


class Timeouts(_Wire, frozen=True, kw_only=True):
    connect_ms: int
    first_byte_ms: int
    idle_ms: int
    total_ms: int


class Rule(_Wire, frozen=True, kw_only=True):
    """What happens to one parameter. `set`, `min`, `max`, `default` are JSON text, so no number changes."""

    parameter: str
    to: str | None
    reject: str | None
    drop: bool
    set: str | None
    min: str | None
    max: str | None
    default: str | None
    require: bool


class Check(_Wire, frozen=True, kw_only=True):
    """By a connection, by a GET of the path `target` of the host, or by a request of `operation`."""

    target: str | None
    operation: Operation | None
    body: str
    every_ms: int
    timeout_ms: int
    failing: int
    passing: int


class Poll(_Wire, frozen=True, kw_only=True):
    """Metrics of an engine: a path of the host."""

    target: str
    every_ms: int
    timeout_ms: int
    stale_ms: int


class ErrorRule(_Wire, frozen=True, kw_only=True):
    """A refusal by its status (0: any), or by words in lower case in its body (empty: any), and its class."""

    status: int
    words: str
    of: str


class Field(_Wire, frozen=True, kw_only=True):
    """What becomes of one parameter of a request in the provider's own words."""

    name: str
    place: Place
    to: str
    words: dict[str, dict[str, str]]
    only: bool
    like: str | None
    form: str | None
    default: str | None
    require: bool
    drop: bool
    reject: str | None
    min: float | None
    max: float | None


class Timed(_Wire, frozen=True, kw_only=True):
    at: str
    text: str
    start: str
    end: str
    only: dict[str, str]


class Telling(_Wire, frozen=True, kw_only=True):
    """Where an answer says what a transcript has."""

    text: str
    language: str | None
    duration: str | None
    words: Timed | None
    segments: Timed | None


class Worded(_Wire, frozen=True, kw_only=True):
    """How an operation is asked for in the provider's own words."""

    body: str
    rest: str
    fields: list[Field]
    answer: Telling | None


class Deployment(_Wire, frozen=True, kw_only=True):
    """One place where a model is had. `credential` names a slot; its value is pushed apart."""

    id: str
    provider: str
    dialect: Dialect
    model: str
    base_url: str
    operations: dict[Operation, str]
    rules: dict[Operation, list[Rule]]
    requests: dict[Operation, Worded]
    auth: Auth
    credential: str | None
    credentials: list[str]
    headers: dict[str, str]
    weight: int
    tier: int
    tags: list[str]
    rpm: int | None
    tpm: int | None
    price: Price | None
    price_version: str
    stream_usage: StreamUsage
    timeouts: Timeouts
    pool_idle_ms: int
    max_connections: int
    max_output: int
    context_window: int
    cannot: list[str]
    doubtful: list[str]
    elsewhere: bool
    service_tier: str
    region: str
    keeps_nothing: bool
    spills: bool
    check: Check | None
    engine: Poll | None
    prompt_caching: bool
    model_in_path: bool
    stream_in_path: bool
    public_only: bool
    errors: list[ErrorRule]
    rate_limit_headers: list[tuple[str, str]]


class Retries(_Wire, frozen=True, kw_only=True):
    """How often a request is sent again, by the class of its last failure."""

    bad_request: int
    authentication: int
    not_found: int
    timeout: int
    rate_limit: int
    content_policy: int
    context_window: int
    server_error: int
    connection: int


class Breaker(_Wire, frozen=True, kw_only=True):
    """When a deployment is left out. 0 turns a rule off."""

    consecutive: int
    percent: int
    minimum: int
    window_ms: int
    allowed_fails: int | None
    allowed_of: tuple[int | None, int | None, int | None, int | None]
    open_ms: int
    open_max_ms: int
    probes: int
    slow_start_ms: int
    outlier_percent: int
    ejected_percent: int


class Redirect(_Wire, frozen=True, kw_only=True):
    """`when`: a condition as JSON."""

    when: str
    then: str


class Boundary(_Wire, frozen=True, kw_only=True):
    """Where requests may go for whose they are. `when`: a condition as JSON; None: always."""

    when: str | None
    regions: list[str]
    keeps_nothing: bool


class ServiceTiers(_Wire, frozen=True, kw_only=True):
    """`when`: a condition as JSON; None: always."""

    when: str | None
    tiers: list[str]


class StrategyRule(_Wire, frozen=True, kw_only=True):
    """`when`: a condition as JSON."""

    when: str
    strategy: str


class Prioritized(_Wire, frozen=True, kw_only=True):
    """`when`: a condition as JSON."""

    when: str
    priority: Literal["high", "normal", "low"]


class Overload(_Wire, frozen=True, kw_only=True):
    """`tolerance` in percent. `wait_ms` None: as long as the data plane sees fit."""

    adaptive: bool
    initial: int
    least: int
    most: int
    tolerance: int
    wait_ms: int | None
    queue: int
    priorities: list[Prioritized]


class Mirror(_Wire, frozen=True, kw_only=True):
    """Another model that gets a part of the requests too."""

    model: str
    percent: int
    hash_on: list[str]
    in_flight: int
    bill: bool


class Hedge(_Wire, frozen=True, kw_only=True):
    """A second deployment that is asked when the first is slow. `after_ms` null: slower than 95 %."""

    after_ms: int | None
    least_ms: int
    percent: int


class Routing(_Wire, frozen=True, kw_only=True):
    """How the requests of one model find a deployment."""

    conditions: list[Redirect]
    service_tiers: list[ServiceTiers]
    strategies: list[StrategyRule]
    strategy: str
    otherwise: Literal["shuffle", "round_robin", "least_busy"]
    engine_stale_ms: int
    latency_of: str
    slack: int
    explore: int
    hash_on: list[str]
    prompt_min_tokens: int
    translation: Literal["equal", "last", "never"]
    match_all_tags: bool
    refuses_long: bool
    max_cost_pico: int | None
    retries: Retries
    backoff_ms: int
    backoff_max_ms: int
    retry_after_max_ms: int
    breaker: Breaker
    overload: Overload
    mirror: Mirror | None
    hedge: Hedge | None
    context_window_fallbacks: list[str]
    content_policy_fallbacks: list[str]
    rate_limit_fallbacks: list[str]
    cost_fallbacks: list[str]


class ModelInfo(_Wire, frozen=True, kw_only=True):
    """What is known about a model, for the list of models. Sizes in tokens; `ends`: YYYY-MM-DD."""

    context_window: int | None
    max_output: int | None
    takes: list[str]
    gives: list[str]
    can: list[str]
    ends: str | None


class Pattern(_Wire, frozen=True, kw_only=True):
    """A regular expression; words where that is None."""

    label: str
    regex: str | None
    words: list[str]
    whole: bool
    ignore_case: bool
    validator: str | None


class Notice(_Wire, frozen=True, kw_only=True):
    """Who is told what a guardrail found. `secret`: signs it."""

    url: str
    secret: str | None


class Guardrail(_Wire, frozen=True, kw_only=True):
    """What must not pass, on which side, and what happens to it. `checks`: JSON."""

    name: str
    input: bool
    output: bool
    action: Literal["block", "fallback", "retry", "redact", "tokenize", "mask", "flag", "log"]
    shadow: bool
    fails_closed: bool
    stream: Literal["window", "hold", "audit"]
    normalise: list[Literal["spacing", "base64", "hex"]]
    patterns: list[Pattern]
    checks: str | None
    keeps_s: int
    """How long its tokens are kept; 0: for their request."""
    unscannable: Literal["allow", "whole", "block"] = "allow"
    """What cannot be looked at: passes, is refused where there is nothing else, is refused."""
    webhook: Notice | None = None


class GuardTrial(_Wire, frozen=True, kw_only=True):
    """Guardrails tried on a text."""

    guardrails: list[Guardrail]
    text: str
    output: bool


class Auto(_Wire, frozen=True, kw_only=True):
    """Models that one stands for, from the simplest to the best. Routers as `ailink router train` wrote them;
    `candidate` serves `percent` of the callers.
    """

    models: list[str]
    thresholds: list[float]
    incumbent: bytes | None
    candidate: bytes | None
    percent: int
    record: int


class Model(_Wire, frozen=True, kw_only=True):
    """One name that clients may ask for. `deployments`, `guardrails`: indices into the snapshot's lists.
    `caches`: by endpoint, where it is another than `cache`.
    """

    name: str
    deployments: list[int]
    fallbacks: list[str]
    routing: Routing
    cache: CachePolicy
    caches: dict[str, CachePolicy]
    auto: Auto | None
    guardrails: list[int]
    owned_by: str
    created: int
    mode: str
    info: ModelInfo | None


class KnownAt(_Wire, frozen=True, kw_only=True):
    """What one deployment of a wildcard takes for a model."""

    deployment: int
    price: Price | None
    price_version: str
    max_output: int


class Known(_Wire, frozen=True, kw_only=True):
    """A model that is known to be behind a wildcard. `part`: what the `*` stands for. Of one that is not
    `listed` clients are not told.
    """

    part: str
    listed: bool
    mode: str
    info: ModelInfo | None
    places: list[KnownAt]


class Wildcard(_Wire, frozen=True, kw_only=True):
    """Models behind a name with one `*`, which stands in its deployments' models too, escaped in their paths.
    `model.deployments` are numbers in `deployments`; `open`: those that serve names nobody knows beforehand.
    """

    model: Model
    deployments: list[Deployment]
    open: list[int]
    known: list[Known]


class PassThrough(_Wire, frozen=True, kw_only=True):
    """A provider whose own paths may be asked for beneath its `names`. `head`: what the names of its models
    begin with; `prefix`: the path of its base URL, as `v1/`.
    """

    names: list[str]
    head: str
    prefix: str
    dialect: Dialect


class Policy(_Wire, frozen=True, kw_only=True):
    """`when`: JSON or an expression, None: always; `then`: a JSON list of actions."""

    name: str
    version: int
    phase: str
    shadow: bool
    priority: int
    when: str | None
    then: str
    zone: int


class Attachment(_Wire, frozen=True, kw_only=True):
    """Policies by number that hold for somebody or something."""

    kind: str
    id: str
    policies: list[int]


class Policies(_Wire, frozen=True, kw_only=True):
    """`zones`: moments and seconds ahead of UTC; `calendars`: days since 1970."""

    policies: list[Policy]
    attachments: list[Attachment]
    zones: list[list[tuple[int, int]]]
    calendars: dict[str, list[int]]
    keep: int


class PolicyTrial(_Wire, frozen=True, kw_only=True):
    """Policies that are tried on a request (JSON), or checked."""

    policies: Policies
    guardrails: list[Guardrail]
    scene: str


class Snapshot(_Wire, frozen=True, kw_only=True):
    """The compiled configuration. A request reads one and finishes on it."""

    schema: int
    version: int
    settings: Settings
    cache: Cache
    aliases: dict[str, str]
    configs: dict[str, str]
    deployments: list[Deployment]
    models: list[Model]
    wildcards: list[Wildcard]
    pass_through: list[PassThrough]
    guardrails: list[Guardrail]
    boundaries: list[Boundary]
    policies: Policies

    def places(self) -> list[Deployment]:
        """All deployments, those of wildcards too."""
        return [*self.deployments, *(place for wildcard in self.wildcards for place in wildcard.deployments)]


SubjectKind = Literal[
    "global", "organization", "team", "project", "user", "member", "key", "customer", "tag", "model",
    "provider", "deployment", "endpoint",
]  # fmt: skip
Each = Literal["ip", "session", "key", "user", "team", "customer", "model"]
Metric = Literal["requests", "parallel", "input_tokens", "output_tokens", "tokens", "spend"]
CalendarUnit = Literal["second", "minute", "hour", "day", "week", "month", "year"]


class Sliding(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="sliding"):
    """The last `length_ms`, wherever one looks; at most 400 days."""

    length_ms: int


class Calendar(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="calendar"):
    """Periods of the civil calendar; weeks begin on Monday. The zone is `offset_s` east of UTC until
    `shift_us` (0: for ever), `shifted_offset_s` from then on. What was used before `since_us` does not count.
    """

    unit: CalendarUnit
    offset_s: int
    shift_us: int
    shifted_offset_s: int
    since_us: int


class Anchored(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="anchored"):
    """Periods of one length, one of which begins at `start_us`. What was used before `since_us` does not
    count.
    """

    start_us: int
    length_ms: int
    since_us: int


class Lifetime(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="lifetime"):
    """For ever, counted from `since_us`."""

    since_us: int


class Refuse(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="refuse"):
    pass


class Queue(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="queue"):
    """Requests wait for their turn, by priority, so long at most and so many of them."""

    wait_ms: int
    most: int


class Throttle(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="throttle"):
    """Once `from_percent` are used, requests go on at the pace at which the limit is renewed."""

    from_percent: int = msgspec.field(name="from")
    wait_ms: int


class Fallback(_Wire, frozen=True, kw_only=True, tag_field="kind", tag="fallback"):
    pass


Exhausted = Refuse | Queue | Throttle | Fallback


class LimitRule(_Wire, frozen=True, kw_only=True):
    """One limit: at most `max` of `metric` (spend in pico-USD) in `window` (None for `parallel` alone).
    `models`, `endpoints`, `providers`: names or globs, counted together; None: all. `each`: it holds for each
    of these by itself. Passing a `soft` limit is told as an event, and
    nothing refused. `name` is for messages and may be empty. `reserved`: percents of it that only requests
    of normal or high priority may use, and only those of high priority.
    """

    name: str
    metric: Metric
    max: int
    window: Sliding | Calendar | Anchored | Lifetime | None
    models: list[str] | None
    endpoints: list[str] | None
    providers: list[str] | None
    each: Each | None
    soft: bool
    on_exhausted: Exhausted
    reserved: tuple[int, int]


class SubjectRow(_Wire, frozen=True, kw_only=True):
    """Someone or something with limits of its own, other than a key. `alias` is what messages call it.
    `parents`: whose common spend is this one's, for a member its team and its user; else empty. A provider,
    model, deployment or endpoint is named as the data plane knows it; the global subject's id is empty.
    Rules that count the same thing over the same window go on from where their predecessors stood; new ones
    learn from the ledger what was used before.
    """

    kind: SubjectKind
    id: str
    alias: str | None
    parents: list[tuple[SubjectKind, str]]
    blocked: bool
    limits: list[LimitRule]


class KeyCache(_Wire, frozen=True, kw_only=True):
    """What a key and all it belongs to say of the cache; None: nothing. Without `store` its answers are not
    kept. `threshold` in ten-thousandths. `controls`: what requests may say, None: all of it.
    """

    mode: Literal["off", "on", "opt_in"] | None
    scope: Literal["key", "user", "team", "organization", "shared"] | None
    namespace: str | None
    ttl_ms: int | None
    store: bool
    semantic: Literal["off", "on"] | None
    threshold: int | None
    controls: list[str] | None


class KeyRow(_Wire, frozen=True, kw_only=True):
    """A key of the sharded key table. None: no restriction; an empty list allows nothing.

    `limits` are the key's own. `subjects` it belongs to are limited and billed with it, and blocked ones
    block it; the first organization, team, project and user among them stand in the ledger. `tags` go with
    every request; with `may_tag` requests may add tags that have rows.
    """

    digest: bytes
    id: str
    org_id: str | None
    alias: str | None
    role: Literal["admin", "key"]
    state: Literal["active", "blocked"]
    expires_us: int | None
    models: list[str] | None
    endpoints: list[Operation] | None
    ip_allow: list[str] | None
    limits: list[LimitRule]
    subjects: list[tuple[SubjectKind, str]]
    tags: list[str]
    may_tag: bool
    guardrails: list[str]
    cache: KeyCache | None
    stands_for: str | None
    """The digest, hexadecimal, of the key that it stands for in sessions and for nothing else."""
