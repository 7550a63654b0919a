"""What `ailink.yaml` may say about policies, and what the API takes: when something holds, what is done."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ailink.config.secret import Secret
from ailink.config.section import Strict
from ailink.config.units import Duration, PicoUsd, Tree

NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$"
_Name = Annotated[str, Meta(pattern=NAME)]
_Text = Annotated[str, Meta(max_length=4_000)]
_Status = Annotated[int, Meta(ge=400, le=599)]
_Label = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_ -]{0,63}$")]
_Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
_Url = Annotated[str, Meta(pattern=r"^https?://")]
Share = Literal[
    "key",
    "user",
    "team",
    "project",
    "organization",
    "session",
    "ip",
    "model",
    "end_user",
    "everyone",
    "request",
]


class Allow(Strict, frozen=True, kw_only=True):
    """Policies behind this one are not asked any more."""


class Deny(Strict, frozen=True, kw_only=True):
    """The request is refused, or its answer withheld."""

    status: _Status = 403
    message: _Text = ""


class Redact(Strict, frozen=True, kw_only=True):
    """What is found is cut out; `fields` are blanked."""

    presets: tuple[str, ...] = ()
    """Of `guardrails`, such as `email`."""
    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    label: _Label = "REDACTED"
    """What stands in place of what is found."""
    action: Literal["redact", "mask", "block"] = "redact"
    fields: tuple[str, ...] = ()
    """Paths of the body, `messages[*].name`."""


class SetHeader(Strict, frozen=True, kw_only=True):
    name: str
    value: str


class SetField(Strict, frozen=True, kw_only=True):
    field: str
    value: Tree


class RegexReplace(Strict, frozen=True, kw_only=True):
    """In every text; `$1` and `${name}` stand for groups."""

    pattern: str
    replacement: str = ""


class AddMessage(Strict, frozen=True, kw_only=True):
    role: Literal["system", "user", "assistant", "developer"] = "user"
    content: _Text
    position: Literal["first", "last"] = "last"


class Op(Strict, frozen=True, kw_only=True):
    """One change; exactly one of them is given."""

    set_header: SetHeader | None = None
    remove_header: str | None = None
    set_body_field: SetField | None = None
    remove_body_field: str | None = None
    append_system_prompt: _Text | None = None
    prepend_system_prompt: _Text | None = None
    regex_replace: RegexReplace | None = None
    add_message: AddMessage | None = None


class Override(Strict, frozen=True, kw_only=True):
    """Fields of the request body that have these values, whatever the caller sent."""

    set: dict[str, Tree]


class Route(Strict, frozen=True, kw_only=True):
    """Another model, which the key must be allowed to use; or only deployments of a provider."""

    model: str | None = None
    provider: str | None = None


class Variant(Strict, frozen=True, kw_only=True):
    name: _Name
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    model: str | None = None
    set: dict[str, Tree] = msgspec.field(default_factory=dict)


class Split(Strict, frozen=True, kw_only=True):
    """Each `by` always gets the same variant; the request is tagged `POLICY=VARIANT`."""

    by: Share = "key"
    variants: tuple[Variant, ...]


class RateLimit(Strict, frozen=True, kw_only=True):
    """At most so many requests within any `window`."""

    requests: _Count
    window: Duration = Duration(60_000)
    by: Share = "key"
    message: _Text = ""


class Throttle(Strict, frozen=True, kw_only=True):
    """The request waits."""

    delay: Duration
    """Added before the request is sent."""


class CacheUse(Strict, frozen=True, kw_only=True):
    """Whether the cache takes part, where it is enabled at all."""

    enabled: bool = False


class Tag(Strict, frozen=True, kw_only=True):
    """Tags of the request, as in the ledger and in later conditions."""

    tags: tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...]


class Log(Strict, frozen=True, kw_only=True):
    """A line in the log with the values of these fields."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    message: _Text = "matched"
    fields: tuple[str, ...] = ()
    """Of the request's facts, written beside the message."""


class Webhook(Strict, frozen=True, kw_only=True):
    """A signed message. With `wait`, `{"verdict": false}` in its answer refuses the request."""

    url: _Url
    wait: bool = False
    """For its verdict; else it is told only."""
    timeout: Duration = Duration(5_000)
    on_fail: Literal["allow", "deny"] = "deny"
    """When there is no verdict to wait for."""
    body: bool = False
    """Whether request and answer are sent along."""
    secret: Secret | None = None
    """Signs what it is sent."""


class ToolScope(Strict, frozen=True, kw_only=True):
    """Tools that may be offered (`pre`) and called (`post`, `stream`). Names may hold `*`."""

    allowed: tuple[str, ...] | None = None
    """Only these, `*` as wildcard."""
    blocked: tuple[str, ...] = ()
    """Not these."""
    otherwise: Literal["deny", "remove"] = "deny"
    """`remove`: the request goes on without the tool."""
    arguments: dict[str, Tree] = msgspec.field(default_factory=dict)
    """JSON schemas of the arguments of calls, by tool; for `post`."""
    message: _Text = ""


class ValidateSchema(Strict, frozen=True, kw_only=True):
    """`pre`: the request body, or a field of it. `post`: what the answer says, as JSON, or a field of it."""

    schema: Tree
    negate: bool = False
    """Refuses what fits instead."""
    field: str | None = None
    """Of the body or answer; null: the whole."""
    message: _Text = ""


class UseGuardrail(Strict, frozen=True, kw_only=True):
    """Guardrails of the file; in `pre` they look at the answer, too."""

    guardrails: tuple[_Name, ...]


class SpendCap(Strict, frozen=True, kw_only=True):
    """No further request once so much was spent within `window`, counted since the gateway started."""

    usd: PicoUsd
    window: Duration = Duration(86_400_000)
    by: Literal["key", "user", "team", "project", "organization", "session"] = "key"
    """A request that names no session is not capped by session."""
    message: _Text = ""


class Alert(Strict, frozen=True, kw_only=True):
    """Told once within `every`: as a warning in the log, and at `url`, which may be Slack's."""

    severity: Literal["info", "warning", "critical"] = "warning"
    message: _Text
    every: Duration = Duration(300_000)
    """At most once in so long."""
    url: _Url | None = None
    """A webhook besides the channels."""
    secret: Secret | None = None


class Reviewers(Strict, frozen=True, kw_only=True):
    """Roles over the gateway, in the organization or the team of the request; users by id."""

    roles: tuple[_Name, ...] = ()
    users: tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...] = ()


class RequireApproval(Strict, frozen=True, kw_only=True):
    """Somebody has to allow it: the request in `pre`, what was answered in `post`."""

    mode: Literal["hold", "accept"] = "hold"
    """`hold`: the caller waits; `accept`: he gets 202 and a token to ask again with."""
    reviewers: Reviewers = Reviewers()
    """None: whoever may write approvals where the request comes from."""
    quorum: Annotated[int, Meta(ge=1, le=20)] = 1
    """So many different reviewers have to approve; one is enough to reject."""
    expiry: Annotated[Duration, Meta(ge=1_000, le=2_592_000_000)] = Duration(3_600_000)
    """Time to decide, and then to make use of it."""
    default: Literal["reject", "approve"] = "reject"
    """What holds when nobody has decided in time."""
    tools: tuple[str, ...] = ()
    """Only where one of these tools is called; names may hold `*`."""
    message: _Text = ""
    """What the reviewers are told."""
    channels: tuple[_Name, ...] | None = None
    """Of `alerts.channels`; null: all."""


class Action(Strict, frozen=True, kw_only=True):
    """What is done; exactly one of these is given."""

    allow: Allow | None = None
    deny: Deny | None = None
    redact: Redact | None = None
    transform: tuple[Op, ...] | None = None
    override: Override | None = None
    route: Route | None = None
    split: Split | None = None
    rate_limit: RateLimit | None = None
    throttle: Throttle | None = None
    cache: CacheUse | None = None
    tag: Tag | None = None
    log: Log | None = None
    webhook: Webhook | None = None
    tool_scope: ToolScope | None = None
    validate_schema: ValidateSchema | None = None
    guardrail: UseGuardrail | None = None
    spend_cap: SpendCap | None = None
    alert: Alert | None = None
    require_approval: RequireApproval | None = None


class Attach(Strict, frozen=True, kw_only=True):
    """Whom and what it holds for, by id; models and routes (`chat`, `messages`, …) by name."""

    organizations: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    everything: bool = False
    """Every request."""


class PolicyRule(Strict, frozen=True, kw_only=True):
    """One policy: what is done when a condition holds."""

    name: _Name
    description: _Text = ""
    phase: Literal["pre", "post", "stream", "async"] = "pre"
    mode: Literal["enforce", "shadow"] = "enforce"
    """`shadow`: evaluated and recorded, without effect."""
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0
    """Lower ones run first; equal ones in the order in which they are declared."""
    timezone: str = "UTC"
    """Of the fields `time.*` and `calendar.*`."""
    when: Tree | None = None
    """null: always."""
    then: tuple[Action, ...]
    attach: Attach = Attach()


class Recording(Strict, frozen=True, kw_only=True):
    """Requests kept in memory with their answers, without credentials, for replaying policies over them."""

    keep: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """So many; 0: none."""
