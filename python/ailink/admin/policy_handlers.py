"""`/policies`: what holds, its versions, what it did and would do, the way from shadow to force and back."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import msgspec

from ailink import _core
from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request, not_found
from ailink.admin.guard_handlers import Told, Verdict, shadow_by_key
from ailink.admin.services import Services
from ailink.config.policies import PolicyRule
from ailink.config.policy_rows import chosen, targets
from ailink.snapshot.model import PolicyTrial
from ailink.snapshot.policies import Versioned, compile_policies

_MICRO = 1_000_000


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """`source`: `file` (read-only here) or `api`."""

    name: str
    source: Literal["file", "api"]
    version: int
    phase: str
    mode: Literal["enforce", "shadow"]
    priority: int
    actions: list[str]
    attached: list[str]


class PoliciesView(msgspec.Struct, frozen=True, kw_only=True):
    policies: list[PolicyView]


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """`policy` null: deleted with this version."""

    name: str
    version: int
    policy: dict[str, Any] | None
    at_us: int
    by: str


class VersionsView(msgspec.Struct, frozen=True, kw_only=True):
    versions: list[VersionView]


class Put(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`policy`: the keys it would have in the file, but for its name."""

    policy: dict[str, Any]


class Rollback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for which it held; `shadow`: it would have acted, and for which keys."""

    name: str
    enforced: int
    shadow: int
    shadow_by_key: dict[str, int]


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    policy: str | None = None
    shadow: bool | None = None
    limit: int = 100


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    policies: list[PolicyReport]
    latest: list[Verdict]


class TriedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that is made up. `response` null: only what happens before it is sent."""

    body: dict[str, Any] = {}
    path: str = "/v1/chat/completions"
    operation: str = "chat"
    dialect: str = "openai"
    headers: dict[str, str] = {}
    ip: str | None = None
    time_us: int | None = None
    key_id: str | None = None
    key_alias: str | None = None
    user: str | None = None
    team: str | None = None
    project: str | None = None
    organization: str | None = None
    tags: list[str] = []
    estimated_cost: float | None = None
    budget_left: float | None = None
    budget_left_percent: float | None = None
    response: dict[str, Any] | None = None
    response_status: int = 200


class Simulate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`policies` null: all in force. `draft`: one that is not stored yet, in place of one of its name."""

    request: TriedRequest
    policies: list[str] | None = None
    draft: dict[str, Any] | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requests kept by `recording.keep` from this period, seconds since 1970."""

    since: float = 0
    until: float | None = None
    policies: list[str] | None = None
    draft: dict[str, Any] | None = None


class HeldView(msgspec.Struct, frozen=True, kw_only=True):
    policy: str
    phase: str
    shadow: bool
    actions: list[str]


class OutcomeView(msgspec.Struct, frozen=True, kw_only=True):
    """`by`: the policy that decided; `body`: as it would be sent, where it differs."""

    request_id: str
    time_us: int
    model: str
    key: str | None
    matched: list[HeldView]
    outcome: Literal["allow", "deny"]
    status: int | None
    message: str | None
    by: str | None
    body: str | None


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """`denied_by`: requests that would be refused, by policy; `requests`: those that anything holds for."""

    replayed: int
    matched: int
    denied: int
    denied_by: dict[str, int]
    requests: list[OutcomeView]


async def list_policies(services: Services, call: Call[Nothing, Nothing]) -> PoliciesView:
    """Everything that holds, of the file and of the API."""
    return PoliciesView(policies=[_view(services, one) for one in _all(services)])


async def get(services: Services, call: Call[Nothing, Nothing]) -> VersionView:
    """One that was made through the API."""
    record = await services.policies.get(call.path["name"])
    return _version(record)


async def versions(services: Services, call: Call[Nothing, Nothing]) -> VersionsView:
    """All versions of one, newest first."""
    found = await services.policies.versions(call.path["name"])
    return VersionsView(versions=[_version(record) for record in found])


async def put(services: Services, call: Call[Put, Nothing]) -> VersionView:
    """Makes a policy, or its next version."""
    record = await services.policies.put(call.caller, call.path["name"], call.body.policy, "policy.put")
    return _version(record)


async def delete(services: Services, call: Call[Nothing, Nothing]) -> VersionView:
    """Its versions stay."""
    return _version(await services.policies.delete(call.caller, call.path["name"]))


async def promote(services: Services, call: Call[Nothing, Nothing]) -> VersionView:
    """From `shadow` to `enforce`, as its next version."""
    record = await services.policies.get(call.path["name"])
    body = record.body or {}
    if body.get("mode") != "shadow":
        raise bad_request(f"the policy '{record.name}' is in force already", code="not_in_shadow")
    made = await services.policies.put(
        call.caller, record.name, {**body, "mode": "enforce"}, "policy.promote"
    )
    return _version(made)


async def rollback(services: Services, call: Call[Rollback, Nothing]) -> VersionView:
    """Makes a former version the newest."""
    return _version(await services.policies.rollback(call.caller, call.path["name"], call.body.version))


async def report(services: Services, call: Call[Nothing, ReportQuery]) -> ReportView:
    """Counts per policy since the start, and the latest verdicts; what shadow would have done, by key."""
    counts, latest, shadows = msgspec.msgpack.decode(services.plane.policy_report(), type=Told)
    query, by_key = call.query, shadow_by_key(shadows)
    chosen_ones = [
        verdict
        for verdict in reversed(latest)
        if query.policy in (None, verdict.rule) and query.shadow in (None, verdict.shadow)
    ]
    return ReportView(
        policies=[
            PolicyReport(name=name, enforced=row[0], shadow=row[1], shadow_by_key=by_key.get(name, {}))
            for name, row in counts
            if query.policy in (None, name)
        ],
        latest=chosen_ones[: max(query.limit, 0)],
    )


async def simulate(services: Services, call: Call[Simulate, Nothing]) -> OutcomeView:
    """What would become of a request; nothing is sent, counted or called."""
    trial = _trial(services, call.body.policies, call.body.draft, _scene(services, call.body.request))
    try:
        told = await asyncio.to_thread(_core.policy_simulate, msgspec.msgpack.encode(trial))
    except ValueError as error:
        raise bad_request(str(error), param="request") from error
    return msgspec.json.decode(told, type=OutcomeView)


async def replay(services: Services, call: Call[Replay, Nothing]) -> ReplayView:
    """What policies would have done with the requests that were kept."""
    body = call.body
    trial = _trial(services, body.policies, body.draft, "{}")
    until = services.changes.now_us() if body.until is None else int(body.until * _MICRO)
    told = await asyncio.to_thread(
        services.plane.policy_replay, msgspec.msgpack.encode(trial), int(body.since * _MICRO), until
    )
    outcomes = msgspec.json.decode(told, type=list[OutcomeView])
    denied = [one for one in outcomes if one.outcome == "deny"]
    names = [one.by for one in denied if one.by is not None]
    matched = [one for one in outcomes if one.matched]
    return ReplayView(
        replayed=len(outcomes),
        matched=len(matched),
        denied=len(denied),
        denied_by={name: names.count(name) for name in sorted(set(names))},
        requests=matched,
    )


def _all(services: Services) -> list[Versioned]:
    file = [Versioned(rule=rule) for rule in services.config.file().policies]
    return [*file, *services.config.stored_policies()]


def _view(services: Services, one: Versioned) -> PolicyView:
    rule, config = one.rule, services.config.file()
    attached = [name if not target else f"{name} {target}" for name, target in targets(rule.attach)]
    attached += ["default"] if rule.name in config.defaults.policies else []
    attached += [f"model {model.name}" for model in config.models if rule.name in model.policies]
    return PolicyView(
        name=rule.name,
        source="file" if one.trusted else "api",
        version=one.version,
        phase=rule.phase,
        mode=rule.mode,
        priority=rule.priority,
        actions=[name for action in rule.then for name, _ in chosen(action)],
        attached=attached,
    )


def _version(record: Any) -> VersionView:
    return VersionView(
        name=record.name, version=record.version, policy=record.body, at_us=record.at_us, by=record.by
    )


def _trial(
    services: Services, names: list[str] | None, draft: dict[str, Any] | None, scene: str
) -> PolicyTrial:
    tried: PolicyRule | None = None
    if draft is not None:
        name = draft.get("name", "draft")
        if not isinstance(name, str):
            raise bad_request("expected text", param="policy.name")
        tried = services.policies.read(name, draft)
    known = {one.rule.name: one for one in _all(services)}
    wanted = [] if tried is not None and names is None else list(known) if names is None else names
    for name in wanted:
        if name not in known:
            raise not_found(f"there is no policy '{name}'", param="policies")
    rules = [known[name] for name in wanted if tried is None or name != tried.name]
    if tried is not None:
        rules.append(Versioned(rule=tried, version=0, trusted=False))
    config = services.config.file()
    alone = msgspec.structs.replace(
        config,
        policies=(),
        models=(),
        defaults=msgspec.structs.replace(config.defaults, policies=()),
    )
    compiled = compile_policies(alone, rules)
    return PolicyTrial(policies=compiled.policies, guardrails=compiled.guardrails, scene=scene)


def _scene(services: Services, request: TriedRequest) -> str:
    """A request as the data plane keeps one."""
    body = request.body
    limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    limit = next((value for value in limits if isinstance(value, int)), None)
    text = json.dumps(body, ensure_ascii=False)
    reply = None
    if request.response is not None:
        reply = {"status": request.response_status, "body": json.dumps(request.response)}
    who = {
        "key_id": request.key_id,
        "key_alias": request.key_alias,
        "user": request.user,
        "team": request.team,
        "project": request.project,
        "organization": request.organization,
        "tags": request.tags,
        "estimated_cost": request.estimated_cost,
        "budget_left": request.budget_left,
        "budget_left_percent": request.budget_left_percent,
    }
    return json.dumps(
        {
            "time_us": services.changes.now_us() if request.time_us is None else request.time_us,
            "request_id": "simulated",
            "method": "POST",
            "path": request.path,
            "operation": request.operation,
            "dialect": request.dialect,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": text,
            "model": str(body.get("model", "")),
            "stream": body.get("stream") is True,
            "input_tokens": len(json.dumps(body.get("messages", ""))) // 4,
            "max_output": limit,
            "ip": request.ip,
            "who": who,
            "reply": reply,
        },
        ensure_ascii=False,
    )
