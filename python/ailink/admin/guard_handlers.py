"""`/guardrails`: what is configured, what it found, and a place to try it on a text."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from ailink import _core
from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request, not_found
from ailink.admin.services import Services
from ailink.snapshot.model import GuardTrial

TEXT_MAX = 1_000_000
NAMES_MAX = 1_000


class GuardrailView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    scan: list[str]
    action: str
    mode: Literal["enforce", "shadow"]
    on_error: Literal["fail", "skip"]
    stream: str
    patterns: int
    labels: list[str]
    models: list[str]


class GuardrailsView(msgspec.Struct, frozen=True, kw_only=True):
    guardrails: list[GuardrailView]


class RuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """Requests and answers in which the rule found something; `shadow_*`: it would have acted."""

    name: str
    input: int
    output: int
    shadow_input: int
    shadow_output: int
    shadow_by_key: dict[str, int]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that found something. Never holds the text itself. `place`: of the first match."""

    time_us: int
    request_id: str
    rule: str
    label: str
    action: str
    shadow: bool
    side: str
    place: str
    model: str
    key: str
    matches: int
    length: int


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`limit`: the latest verdicts that are told."""

    rule: str | None = None
    shadow: bool | None = None
    limit: int = 100


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    rules: list[RuleReport]
    latest: list[Verdict]


class Try(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`guardrails` null: all of them."""

    text: str
    guardrails: list[str] | None = None
    side: Literal["input", "output"] = "input"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """`start` and `end` are bytes of the text in UTF-8."""

    rule: str
    label: str
    action: str
    shadow: bool
    start: int
    end: int


class TriedView(msgspec.Struct, frozen=True, kw_only=True):
    """`action`: the strongest effect. `text`: as it would pass; null when it is blocked."""

    matches: list[Match]
    action: str | None
    text: str | None


async def list_guardrails(services: Services, call: Call[Nothing, Nothing]) -> GuardrailsView:
    """What is configured, and for which models."""
    snapshot = services.config.guardrails()
    views = []
    for rule, models in snapshot:
        views.append(
            GuardrailView(
                name=rule.name,
                scan=[side for side, on in (("input", rule.input), ("output", rule.output)) if on],
                action=rule.action,
                mode="shadow" if rule.shadow else "enforce",
                on_error="fail" if rule.fails_closed else "skip",
                stream=rule.stream,
                patterns=len(rule.patterns),
                labels=sorted({pattern.label for pattern in rule.patterns}),
                models=models,
            )
        )
    return GuardrailsView(guardrails=views)


Told = tuple[list[tuple[str, list[int]]], list[Verdict], list[tuple[str, str, int]]]
"""What the plane reports: counts by name, the latest verdicts, what shadow would have done by key."""


def shadow_by_key(shadows: list[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    """By name and key."""
    found: dict[str, dict[str, int]] = {}
    for name, key, count in shadows:
        found.setdefault(name, {})[key] = count
    return found


async def report(services: Services, call: Call[Nothing, ReportQuery]) -> ReportView:
    """Counts per rule since the start, and the latest verdicts."""
    counts, latest, shadows = msgspec.msgpack.decode(services.plane.guard_report(), type=Told)
    by_key = shadow_by_key(shadows)
    query = call.query
    chosen = [
        verdict
        for verdict in reversed(latest)
        if query.rule in (None, verdict.rule) and query.shadow in (None, verdict.shadow)
    ]
    return ReportView(
        rules=[
            RuleReport(
                name=name,
                input=row[0],
                output=row[1],
                shadow_input=row[2],
                shadow_output=row[3],
                shadow_by_key=by_key.get(name, {}),
            )
            for name, row in counts
            if query.rule in (None, name)
        ],
        latest=chosen[: max(query.limit, 0)],
    )


class VaultTenant(msgspec.Struct, frozen=True, kw_only=True):
    """How many values a tenant keeps behind tokens, and from when until when, µs since 1970."""

    tenant: str
    values: int
    oldest_us: int
    last_expires_us: int


class VaultView(msgspec.Struct, frozen=True, kw_only=True):
    tenants: list[VaultTenant]


class Purge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tenant`: as told by the vault, such as `team:ID`. `names`: of tokens, without their brackets."""

    tenant: str | None = None
    names: list[str] = []
    everything: bool = False


class PurgedView(msgspec.Struct, frozen=True, kw_only=True):
    purged: int


async def vault(services: Services, call: Call[Nothing, Nothing]) -> VaultView:
    """Whose values are kept behind tokens. Never the values."""
    counts = await services.vault.counts()
    return VaultView(tenants=[VaultTenant(**msgspec.structs.asdict(count)) for count in counts])


async def purge(services: Services, call: Call[Purge, Nothing]) -> PurgedView:
    """Forgets values behind tokens, on all nodes: their tokens stay what they are from now on."""
    body = call.body
    if body.everything == bool(body.tenant or body.names):
        raise bad_request("name a `tenant` or `names`, or say `everything: true`", param="tenant")
    if len(body.names) > NAMES_MAX:
        raise bad_request(f"at most {NAMES_MAX} names at a time", param="names")
    return PurgedView(purged=await services.vault.purge(call.caller, body.tenant, body.names))


async def test(services: Services, call: Call[Try, Nothing]) -> TriedView:
    """Tries guardrails on a text; nothing is sent or counted."""
    known = {rule.name: rule for rule, _ in services.config.guardrails()}
    names = list(known) if call.body.guardrails is None else call.body.guardrails
    for name in names:
        if name not in known:
            raise not_found(f"there is no guardrail '{name}'", param="guardrails")
    if len(call.body.text) > TEXT_MAX:
        raise bad_request(f"the text is longer than {TEXT_MAX} characters", param="text")
    trial = GuardTrial(
        guardrails=[known[name] for name in names], text=call.body.text, output=call.body.side == "output"
    )
    packed: Any = await asyncio.to_thread(_core.guard_trial, msgspec.msgpack.encode(trial))
    return msgspec.msgpack.decode(packed, type=TriedView)
