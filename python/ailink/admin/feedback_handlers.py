"""`/v1/feedback`: what callers think of answers. `/routing/samples`: what routers are trained from."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError, bad_request
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.store import routing

MOST = 50_000
PICO = 10**12


class GiveFeedback(Request, frozen=True, kw_only=True):
    """`value` from -10 to 10, as Portkey has it; or `score` from 0 to 1. `trace_id` is the request id too."""

    request_id: str | None = None
    trace_id: str | None = None
    value: Annotated[float, Meta(ge=-10, le=10)] | None = None
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    weight: Annotated[float, Meta(ge=0, le=1)] = 1.0
    metadata: dict[str, Any] = {}


class FeedbackView(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    message: str
    feedback_ids: list[str]


class SamplesQuery(Request, frozen=True, kw_only=True):
    model: str
    limit: Annotated[int, Meta(ge=1, le=MOST)] = MOST


class SampleView(msgspec.Struct, frozen=True, kw_only=True):
    """`quality`: the mean of the feedback, from 0 to 1; `cost` in USD, null while it is not known."""

    request_id: str
    version: str
    model: str
    vector: str
    dense: str
    quality: float | None
    cost: float | None


class SamplesView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[SampleView]


async def give(services: Services, call: Call[GiveFeedback, Nothing]) -> FeedbackView:
    """Notes what a key thinks of the answer to one of its own requests; a second word replaces the first."""
    body = call.body
    wanted = body.request_id or body.trace_id
    if wanted is None:
        raise bad_request(
            "`request_id` is missing: the `x-ailink-request-id` of the answer", param="request_id"
        )
    if (body.value is None) == (body.score is None):
        raise bad_request("give `value` (-10 to 10) or `score` (0 to 1)", param="value")
    attempts = await services.ledger.of_request(wanted, 1)
    mine = call.caller.role == "admin" or any(one.key_id == call.caller.key_id for one in attempts)
    if not attempts or not mine:
        raise ApiError(
            404,
            f"There is no request `{wanted[:64]}` of this key.",
            type="not_found_error",
            code="request_not_found",
        )
    score = body.score if body.score is not None else ((body.value or 0.0) + 10) / 20
    request_id = f"req_{attempts[0].request_id.hex()}"
    feedback = routing.Feedback(
        request_id=request_id,
        key_id=call.caller.key_id,
        org_id=None,
        trace_id=body.trace_id,
        value=round(score * 1_000),
        weight=round(body.weight * 1_000),
        metadata=msgspec.json.encode(body.metadata).decode(),
        at_us=services.changes.now_us(),
    )
    await routing.put_feedback(services.database, feedback)
    return FeedbackView(status="success", message="Feedback successfully saved", feedback_ids=[request_id])


async def samples(services: Services, call: Call[Nothing, SamplesQuery]) -> SamplesView:
    """Requests to a model that stands for others, with what was said about them and what they cost."""
    found = await routing.judged(services.database, call.query.model, call.query.limit)
    costs = await services.ledger.costs_of([sample.request_id for sample in found])
    return SamplesView(
        data=[
            SampleView(
                request_id=sample.request_id,
                version=sample.version,
                model=sample.model,
                vector=sample.vector,
                dense=sample.dense,
                quality=sample.quality,
                cost=None if (cost := costs.get(sample.request_id)) is None else cost / PICO,
            )
            for sample in found
        ]
    )
