"""`/spend/calculate`: what a request would cost, or what an answer has cost."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request
from ailink.admin.served import ServedDeployment
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.admin.token_handlers import TokenRequest, tokens_of
from ailink.ledger.money import Usd, per_token

Tokens = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class CalculateUsage(Request, frozen=True, kw_only=True):
    """Tokens of one request, `messages` that are counted, or an answer with its `usage`. Without `model` an
    answer says it.
    """

    model: Annotated[str, Meta(max_length=512)] | None = None
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    messages: list[dict[str, Any]] | None = None
    completion_response: dict[str, Any] | None = None


class PromptDetails(msgspec.Struct, frozen=True, kw_only=True):
    cached_tokens: Tokens | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an answer's `usage`."""

    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    prompt_tokens_details: PromptDetails | None = None

    @property
    def cached(self) -> int:
        told = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        return min(told or 0, self.prompt_tokens)


class Calculated(msgspec.Struct, frozen=True, kw_only=True):
    cost: Usd


async def calculate(services: Services, call: Call[CalculateUsage, Nothing]) -> Calculated:
    """At the first deployment of the model that has a price."""
    body = call.body
    if body.messages is not None and body.completion_response is not None:
        raise bad_request("give messages or completion_response, not both", param="completion_response")
    answer = body.completion_response or {}
    model = body.model if body.model is not None else answer.get("model")
    if not isinstance(model, str):
        raise bad_request("`model` is missing", param="model", code="missing_parameter")
    place = _priced(services, model)
    usage = _usage(answer["usage"]) if "usage" in answer else None
    if usage is None and body.completion_response is not None:
        raise bad_request("the answer has no usage", param="completion_response.usage")
    if usage is None:
        prompt = body.prompt_tokens
        if body.messages is not None:
            prompt += (await tokens_of(services, TokenRequest(model=model, messages=body.messages)))[0]
        usage = Usage(prompt_tokens=prompt, completion_tokens=body.completion_tokens)
    read_price = place.input_price if place.cache_read_price is None else place.cache_read_price
    cost = (usage.prompt_tokens - usage.cached) * per_token(place.input_price or 0).value
    cost += usage.cached * per_token(read_price or 0).value
    cost += usage.completion_tokens * per_token(place.output_price or 0).value
    return Calculated(cost=Usd(cost, 18))


def _usage(value: Any) -> Usage:
    try:
        return msgspec.convert(value, Usage)
    except msgspec.ValidationError as error:
        raise bad_request(str(error), param="completion_response.usage") from error


def _priced(services: Services, name: str) -> ServedDeployment:
    """By the model's name; an answer may have the provider's."""
    models = services.config.models()
    named = [place for model in models if name in (model.name, *model.aliases) for place in model.deployments]
    there = [place for model in models for place in model.deployments if place.model == name]
    for place in (*named, *there):
        if place.input_price is not None:
            return place
    raise bad_request("no such model with a price", param="model", code="model_not_found")
