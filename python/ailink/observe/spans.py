"""Spans of requests and of their attempts, as OTLP's JSON has them, with the names of OpenTelemetry's
conventions for generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/). Nothing of a prompt or an
answer is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from ailink.config.routing import decision

SERVER, CLIENT = 2, 3
ERROR: Final = 2
PICO_DIGITS: Final = 12
STREAM, HEDGE = 1, 4
SUCCESS, SUPERSEDED = "success", "superseded"

# The conventions' names where ours differ; all others stand as they are.
OPERATIONS: Final[Mapping[str, str]] = {
    "messages": "chat", "messages_stream": "chat", "responses": "chat", "cohere_chat": "chat",
    "converse": "chat", "converse_stream": "chat", "completions": "text_completion", "fim": "text_completion",
    "stream_generate_content": "generate_content", "cohere_embed": "embeddings",
    "embed_content": "embeddings", "batch_embed_contents": "embeddings",
}  # fmt: skip
PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "azure_ai_anthropic": "azure.ai.inference",
    "bedrock": "aws.bedrock", "bedrock_anthropic": "aws.bedrock", "bedrock_mantle": "aws.bedrock",
    "gemini": "gcp.gemini", "gemini_openai": "gcp.gemini", "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai", "vertex_ai_anthropic": "gcp.vertex_ai", "vertex_ai_global": "gcp.vertex_ai",
    "vertex_ai_anthropic_global": "gcp.vertex_ai", "vertex_ai_openai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai", "xai": "x_ai",
}  # fmt: skip


class Owners(msgspec.Struct, frozen=True, array_like=True):
    """Ids of those a request was made for."""

    key: str | None = None
    organization: str | None = None
    team: str | None = None
    user: str | None = None
    project: str | None = None


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A request that was answered, in the data plane's order; times in µs."""

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_us: int
    duration_us: int
    status: int
    error: str | None
    operation: str
    dialect: str
    stream: bool
    attempts: int
    cache: str
    models: tuple[str, ...]
    """Those that were asked, the caller's first."""
    deployment: str | None
    provider: str | None
    provider_model: str | None
    chosen: int
    """The strategy and the number of candidates, as the ledger has them."""
    deployments: int
    """All of the model."""
    owners: Owners


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """An attempt at a provider, in the data plane's order; times in µs."""

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str
    start_us: int
    duration_us: int
    ttft_us: int
    number: int
    flags: int
    source: int
    status: int
    outcome: str
    operation: str
    model: str | None
    deployment: str | None
    provider: str | None
    provider_model: str | None
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost_pico: int
    owners: Owners


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the data plane has traced since it was last asked."""

    requests: list[Request]
    attempts: list[Attempt]
    dropped: int


class Verdict(Protocol):
    """The part of a verdict that spans tell."""

    @property
    def at_us(self) -> int: ...
    @property
    def policy(self) -> int: ...
    @property
    def rule(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def shadow(self) -> int: ...
    @property
    def side(self) -> str: ...
    @property
    def matches(self) -> int: ...


Span = dict[str, Any]


def of_request(request: Request, attempts: Sequence[Attempt], verdicts: Iterable[Verdict]) -> Span:
    """The span of a request; `attempts` in their order."""
    served = next((one for one in reversed(attempts) if one.outcome == SUCCESS), None)
    last = served or (attempts[-1] if attempts else None)
    # A stream is answered with its head; when and how it ended, its attempt knows.
    ends = [one.start_us + one.duration_us for one in attempts if one.outcome != SUPERSEDED]
    end_us = max([request.start_us + request.duration_us, *ends])
    error = request.error
    if error is None and served is None and last is not None:
        error = last.outcome
    strategy, candidates = decision(request.chosen)
    operation = OPERATIONS.get(request.operation, request.operation)
    model = request.models[0] if request.models else None
    provider = request.provider or (last.provider if last else None)
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": model,
        "gen_ai.response.model": request.provider_model or (served.provider_model if served else None),
        "gen_ai.provider.name": PROVIDERS.get(provider or "", provider),
        **(_usage(last) if last is not None else {}),
        "http.response.status_code": request.status or None,
        "error.type": error,
        "ailink.request_id": request.request_id,
        "ailink.cost_usd": _usd(sum(one.cost_pico for one in attempts)) if attempts else None,
        "ailink.attempts": request.attempts,
        "ailink.stream": request.stream,
        "ailink.dialect": request.dialect,
        "ailink.cache": request.cache or None,
        "ailink.deployment": request.deployment,
        "ailink.routing.strategy": strategy,
        "ailink.routing.candidates": candidates,
        "ailink.routing.deployments": request.deployments or None,
        "ailink.routing.models": list(request.models) if len(request.models) > 1 else None,
        **_owners(request.owners),
    }
    span: Span = {
        "traceId": request.trace_id,
        "spanId": request.span_id,
        "name": f"{operation} {model}" if model else operation,
        "kind": SERVER,
        "startTimeUnixNano": str(request.start_us * 1_000),
        "endTimeUnixNano": str(end_us * 1_000),
        "attributes": _attributes(attributes),
        "events": [_event(verdict) for verdict in verdicts],
        # What its caller did wrong is no error of a server.
        "status": {"code": ERROR} if error is not None and not 400 <= request.status < 500 else {},
    }
    if request.parent_id is not None:
        span["parentSpanId"] = request.parent_id
    return span


def of_attempts(attempts: Sequence[Attempt]) -> Request:
    """A request that only its attempts tell of, because its caller left before the answer: what they know."""
    first, last = attempts[0], attempts[-1]
    end_us = max(one.start_us + one.duration_us for one in attempts)
    models = dict.fromkeys(one.model for one in attempts if one.model is not None)
    good = last.outcome == SUCCESS
    return Request(
        request_id=first.request_id,
        trace_id=first.trace_id,
        span_id=first.parent_id,
        parent_id=None,
        start_us=first.start_us,
        duration_us=end_us - first.start_us,
        status=last.status,
        error=None if good else last.outcome,
        operation=first.operation,
        dialect="",
        stream=bool(first.flags & STREAM),
        attempts=len(attempts),
        cache="",
        models=tuple(models),
        deployment=last.deployment if good else None,
        provider=last.provider,
        provider_model=last.provider_model if good else None,
        chosen=0,
        deployments=0,
        owners=first.owners,
    )


def of_attempt(attempt: Attempt, before: Attempt | None) -> Span:
    """The span of an attempt; `before`: the one that failed before it."""
    operation = OPERATIONS.get(attempt.operation, attempt.operation)
    good = attempt.outcome == SUCCESS
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": attempt.provider_model or attempt.model,
        "gen_ai.provider.name": PROVIDERS.get(attempt.provider or "", attempt.provider),
        **_usage(attempt),
        "http.response.status_code": attempt.status or None,
        "error.type": None if good else attempt.outcome,
        "ailink.request_id": attempt.request_id,
        "ailink.attempt.number": attempt.number,
        "ailink.attempt.reason": _reason(attempt, before),
        "ailink.deployment": attempt.deployment,
        "ailink.model": attempt.model,
        "ailink.outcome": attempt.outcome,
        "ailink.ttft_us": attempt.ttft_us or None,
        "ailink.cost_usd": _usd(attempt.cost_pico),
    }
    model = attempt.provider_model or attempt.model
    return {
        "traceId": attempt.trace_id,
        "spanId": attempt.span_id,
        "parentSpanId": attempt.parent_id,
        "name": f"{operation} {model}" if model else operation,
        "kind": CLIENT,
        "startTimeUnixNano": str(attempt.start_us * 1_000),
        "endTimeUnixNano": str((attempt.start_us + attempt.duration_us) * 1_000),
        "attributes": _attributes(attributes),
        "status": {} if good else {"code": ERROR},
    }


def document(service: Mapping[str, Any], spans: Sequence[Span]) -> bytes:
    """The body of one request to a collector."""
    scope = {"name": "ailink", "version": str(service.get("service.version", ""))}
    return msgspec.json.encode(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": _attributes(service)},
                    "scopeSpans": [{"scope": scope, "spans": spans}],
                }
            ]
        }
    )


def _reason(attempt: Attempt, before: Attempt | None) -> str:
    """Why it was made."""
    if attempt.flags & HEDGE:
        return "hedge"
    if attempt.number == 1 or before is None:
        return "first" if attempt.number == 1 else "retry"
    if attempt.model != before.model:
        return "fallback"
    return "retry" if attempt.deployment == before.deployment else "failover"


def _usage(attempt: Attempt) -> dict[str, int | None]:
    return {
        "gen_ai.usage.input_tokens": attempt.input,
        "gen_ai.usage.output_tokens": attempt.output,
        "gen_ai.usage.cache_read.input_tokens": attempt.cache_read or None,
        "gen_ai.usage.cache_creation.input_tokens": attempt.cache_write or None,
        "gen_ai.usage.reasoning.output_tokens": attempt.reasoning or None,
    }


def _owners(owners: Owners) -> dict[str, str | None]:
    return {
        "ailink.key_id": owners.key or None,
        "ailink.organization_id": owners.organization or None,
        "ailink.team_id": owners.team or None,
        "ailink.user_id": owners.user or None,
        "ailink.project_id": owners.project or None,
    }


def _event(verdict: Verdict) -> dict[str, Any]:
    attributes = {
        "ailink.verdict.kind": "policy" if verdict.policy else "guardrail",
        "ailink.verdict.name": verdict.rule,
        "ailink.verdict.label": verdict.label,
        "ailink.verdict.action": verdict.action,
        "ailink.verdict.side": verdict.side,
        "ailink.verdict.shadow": bool(verdict.shadow),
        "ailink.verdict.matches": verdict.matches,
    }
    return {
        "name": "ailink.verdict",
        "timeUnixNano": str(verdict.at_us * 1_000),
        "attributes": _attributes(attributes),
    }


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        # 64 bits are text in OTLP's JSON.
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}


def _usd(pico: int) -> str:
    """The shortest exact decimal."""
    dollars, fraction = divmod(abs(pico), 10**PICO_DIGITS)
    decimals = f"{fraction:0{PICO_DIGITS}d}".rstrip("0")
    return f"{'-' if pico < 0 else ''}{dollars}{'.' if decimals else ''}{decimals}"
