"""`/health`, `/health/deployments`, `/routing/explain/ID`: how deployments are doing, and why a request went
where it went.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError
from ailink.admin.services import Services
from ailink.admin.spend_handlers import SpendLog, logs_of
from ailink.admin.verdicts import Said, said_of
from ailink.ledger.reader import REQUEST_ID, LedgerError

MOST_ATTEMPTS = 1_000


class KeyHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One of several keys, by its place in the configuration, from 1. `state`: `used` or `resting`."""

    key: int
    state: str
    cause: str | None
    retry_in_ms: int | None
    requests: int
    refused: int


class CheckHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The latest health check. `state`: `passing`, `failing`, `unknown` (none was made yet)."""

    state: str
    ago_ms: int | None
    took_ms: int
    fault: str | None
    passed: int
    failed: int


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Requests an engine says it works at and has waiting, and how full its key-value cache is (0 to 1); null
    where it said nothing lately.
    """

    running: int | None
    waiting: int | None
    cache: float | None
    ago_ms: int | None


class DeploymentHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `closed` (used), `open` (left out), `half_open` (being tried again). Requests and failures are
    those of the breaker's window; means are null where no strategy measures them.
    """

    model: str
    deployment: str
    provider: str
    name: str
    dialect: str
    state: str
    cause: str | None
    retry_in_ms: int | None
    in_flight: int
    in_flight_elsewhere: int = 0
    """At other nodes, as they said within the last seconds."""
    requests: int
    failures: int
    first_byte_ms: float | None
    ms_per_token: float | None
    transitions: int
    limit: int | None = None
    """Requests at a time that it was found to bear, where the model asks for that."""
    queued: int = 0
    check: CheckHealth | None = None
    """What health checks found, where there are any."""
    engine: EngineHealth | None = None
    """Where the strategy goes by what engines say."""
    keys: list[KeyHealth] = []
    """Where it has several."""


class DeploymentsHealth(msgspec.Struct, frozen=True, kw_only=True):
    data: list[DeploymentHealth]


class HealthQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str | None = None
    model_id: Annotated[str | None, Meta(description="A deployment.")] = None


class HealthyEndpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`model` is `provider/name`, as LiteLLM writes it."""

    model: str
    model_group: str
    model_id: str
    error: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    healthy_endpoints: list[HealthyEndpoint]
    unhealthy_endpoints: list[HealthyEndpoint]
    healthy_count: int
    unhealthy_count: int


async def deployments(services: Services, call: Call[Nothing, HealthQuery]) -> DeploymentsHealth:
    """Every deployment, or those of one model."""
    return DeploymentsHealth(data=_rows(services, call.query))


async def health(services: Services, call: Call[Nothing, HealthQuery]) -> Health:
    """What real requests told about the deployments, in LiteLLM's shape. Calls no provider."""
    rows = _rows(services, call.query)
    healthy = [_endpoint(row) for row in rows if row.state == "closed"]
    unhealthy = [_endpoint(row) for row in rows if row.state != "closed"]
    return Health(
        healthy_endpoints=healthy,
        unhealthy_endpoints=unhealthy,
        healthy_count=len(healthy),
        unhealthy_count=len(unhealthy),
    )


async def explain(services: Services, call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """What is known of one request: the decision while it is kept (`kept`), what guardrails and policies said
    of it, and its attempts as `/spend/logs` tells them (`spend`).
    """
    wanted = call.path["id"]
    found = services.plane.explain(wanted)
    verdicts, spend = await _recorded(services, wanted)
    if found is None and not verdicts and not spend:
        raise ApiError(
            404,
            f"Nothing is known of the request `{wanted[:64]}`: it reached no provider (the cache answered or "
            "it was refused before), and its decision is not kept; `routing.explain.keep` says how many are.",
            type="not_found_error",
            code="decision_not_found",
        )
    decision: dict[str, Any] = (
        {"request_id": wanted, "choices": [], "attempts": [], "refused": None}
        if found is None
        else msgspec.json.decode(found)
    )
    return {**decision, "kept": found is not None, "verdicts": verdicts, "spend": spend}


async def _recorded(services: Services, request_id: str) -> tuple[list[Said], list[SpendLog]]:
    """Verdicts and attempts in their order; empty where the ledger cannot be read."""
    match = REQUEST_ID.fullmatch(request_id.lower())
    if match is None:
        return [], []
    raw = bytes.fromhex(match[1])
    try:
        attempts = await services.ledger.of_request(request_id, MOST_ATTEMPTS)
        spend = await logs_of(services, attempts)
        verdicts = (await said_of(services, [raw])).get(raw, [])
    except LedgerError:
        return [], []
    return verdicts, spend


def _rows(services: Services, query: HealthQuery) -> list[DeploymentHealth]:
    rows = msgspec.msgpack.decode(services.plane.deployment_health(), type=list[DeploymentHealth])
    return [
        row for row in rows if query.model in (None, row.model) and query.model_id in (None, row.deployment)
    ]


def _endpoint(row: DeploymentHealth) -> HealthyEndpoint:
    return HealthyEndpoint(
        model=f"{row.provider}/{row.name}",
        model_group=row.model,
        model_id=row.deployment,
        error=row.cause,
    )
