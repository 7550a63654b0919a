"""An upstream attempt as LiteLLM shows it, with exact amounts, and `/global/spend`: everything so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ailink.admin.call import MASTER_ID, Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.errors import ApiError
from ailink.admin.holders import require_everywhere
from ailink.admin.key_owner import key_not_found
from ailink.admin.services import Services
from ailink.admin.verdicts import Said, said_of
from ailink.config.routing import decision
from ailink.ledger.money import Usd
from ailink.ledger.reader import Attempt, LedgerError
from ailink.ledger.report import DAY_US, RECONCILED, SOURCES
from ailink.store import bills

STREAMED, MIRRORED, HEDGED, CHECKED, BATCHED = 1, 2, 4, 8, 16


class SpendLog(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream attempt. `source` says how its figures were come by; `model_group` is the name the client
    used.
    """

    attempt_id: str
    request_id: str
    attempt_no: int
    call_type: str
    api_key: str | None
    spend: Usd
    source: str
    status: Literal["success", "failure"]
    outcome: str
    status_code: int
    stream: bool
    kind: Literal["request", "mirror", "hedge", "check", "batch"]
    """`mirror`: what was sent to a mirror; `hedge`: sent while another attempt was waited for;
    `check`: a health check; `batch`: a line of a batch."""
    total_tokens: int
    prompt_tokens: int
    completion_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    units: int
    startTime: datetime  # noqa: N815 - LiteLLM's name
    endTime: datetime  # noqa: N815
    completionStartTime: datetime | None  # noqa: N815
    request_duration_ms: int
    overhead_us: int
    model: str | None
    model_group: str | None
    model_id: str | None
    routing_strategy: str | None
    """By which its deployment was chosen; null where there was nothing to choose."""
    routing_candidates: int | None
    """Deployments there were to choose from, 255 for more; null where that is not known."""
    price_version: str | None
    custom_llm_provider: str | None
    user: str | None
    team_id: str | None
    organization_id: str | None
    project_id: str | None
    end_user: str | None
    request_tags: list[str]
    verdicts: list[Said]
    """What guardrails and policies said of the request."""


class GlobalSpend(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was spent since the ledger began."""

    spend: Usd
    max_budget: None = None
    api_requests: int
    failed_requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


async def logs_of(services: Services, attempts: Sequence[Attempt]) -> list[SpendLog]:
    """Those are marked whose provider billed as much for their day and model. Raises `LedgerError`."""
    tokens = await services.keys.tokens(attempt.key_id for attempt in attempts if attempt.key_id)
    places = _places(services)
    verdicts = await said_of(services, [attempt.request_id for attempt in attempts])
    logs = [
        _log(services, attempt, (tokens, places), verdicts.get(attempt.request_id, []))
        for attempt in attempts
    ]
    days = [attempt.at_us // DAY_US for attempt in attempts]
    agreed = await bills.agreed(services.database, min(days), max(days)) if days else set()
    return [
        msgspec.structs.replace(log, source=SOURCES[RECONCILED]) if (day, log.model_id) in agreed else log
        for day, log in zip(days, logs, strict=True)
    ]


async def global_spend(services: Services, call: Call[Nothing, Nothing]) -> GlobalSpend:
    require_everywhere(call.caller.acting, "spend.read")
    try:
        totals = await services.ledger.totals()
    except LedgerError as error:
        raise unavailable(error) from error
    return GlobalSpend(
        spend=Usd(totals.cost_pico),
        api_requests=totals.attempts,
        failed_requests=totals.errors,
        prompt_tokens=totals.input,
        completion_tokens=totals.output,
        total_tokens=totals.input + totals.output,
    )


async def key_id_of(services: Services, name: str) -> str:
    if services.keys.is_master(name):
        return MASTER_ID
    record = await services.keys.find(name)
    if record is None:
        raise key_not_found("api_key")
    return record.id


def _places(services: Services) -> dict[str, tuple[str, str]]:
    """Deployment id → provider, and the model's name there, of the deployments in force."""
    return {
        deployment.id: (deployment.provider, deployment.model)
        for model in services.config.models()
        for deployment in model.deployments
    }


def _log(
    services: Services,
    attempt: Attempt,
    names: tuple[Mapping[str, str], Mapping[str, tuple[str, str]]],
    verdicts: list[Said],
) -> SpendLog:
    tokens, places = names
    provider, model = places.get(attempt.deployment or "", (None, None))
    key_id = attempt.key_id or ""
    strategy, candidates = decision(attempt.decision)
    return SpendLog(
        attempt_id=str(attempt.attempt_id),
        request_id=f"req_{attempt.request_id.hex()}",
        attempt_no=attempt.attempt_no,
        call_type=_name(services.operations, attempt.operation),
        api_key=tokens.get(key_id, key_id) or None,
        spend=Usd(attempt.cost_pico),
        source=_name(SOURCES, attempt.source),
        status="failure" if attempt.outcome else "success",
        outcome=_name(services.outcomes, attempt.outcome),
        status_code=attempt.status,
        stream=bool(attempt.flags & STREAMED),
        kind=_kind(attempt.flags),
        total_tokens=attempt.input + attempt.output,
        prompt_tokens=attempt.input,
        completion_tokens=attempt.output,
        cache_read_input_tokens=attempt.cache_read,
        cache_creation_input_tokens=attempt.cache_write,
        reasoning_tokens=attempt.reasoning,
        audio_input_tokens=attempt.audio_input,
        audio_output_tokens=attempt.audio_output,
        units=attempt.units,
        startTime=instant(attempt.at_us),
        endTime=instant(attempt.at_us + attempt.duration_us),
        completionStartTime=instant(attempt.at_us + attempt.ttft_us) if attempt.ttft_us else None,
        request_duration_ms=attempt.duration_us // 1_000,
        overhead_us=attempt.overhead_us,
        model=model,
        model_group=attempt.model,
        model_id=attempt.deployment,
        routing_strategy=strategy,
        routing_candidates=candidates,
        price_version=attempt.price_version,
        custom_llm_provider=provider,
        user=attempt.user or None,
        team_id=attempt.team or None,
        organization_id=attempt.organization or None,
        project_id=attempt.project or None,
        end_user=attempt.customer or None,
        request_tags=msgspec.json.decode(attempt.tags, type=list[str]) if attempt.tags else [],
        verdicts=verdicts,
    )


def _kind(flags: int) -> Literal["request", "mirror", "hedge", "check", "batch"]:
    if flags & CHECKED:
        return "check"
    if flags & BATCHED:
        return "batch"
    return "mirror" if flags & MIRRORED else "hedge" if flags & HEDGED else "request"


def _name(names: Sequence[str], code: int) -> str:
    return names[code] if 0 <= code < len(names) else str(code)


def unavailable(error: LedgerError) -> ApiError:
    return ApiError(503, str(error), type="api_error", code="ledger_unavailable")
