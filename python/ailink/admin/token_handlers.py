"""How many tokens a request is and what it may cost, before it is sent."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink import _core
from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError, bad_request
from ailink.admin.served import ServedDeployment, ServedModel
from ailink.admin.services import Services
from ailink.ledger.money import Usd

PER_TOKEN_DIGITS = 18
"""Pico-USD per 1,000,000 tokens, times tokens."""


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request as it would be sent; members that are not counted are allowed and passed over."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    messages: list[dict[str, Any]] | None = None
    system: Any = None
    tools: list[dict[str, Any]] | None = None
    prompt: str | list[Any] | None = None
    input: str | list[Any] | None = None
    text: str | list[Any] | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: Annotated[int, Meta(ge=1, le=1_000)] | None = None


class TokenCount(msgspec.Struct, frozen=True, kw_only=True):
    """`exact`: counted with the model's own encoding by published rules; else an estimate. `tokenizer`: the
    encoding, or `estimate`.
    """

    model: str
    tokens: int
    exact: bool
    tokenizer: str


class TokenCounter(msgspec.Struct, frozen=True, kw_only=True):
    """LiteLLM's answer."""

    total_tokens: int
    request_model: str
    model_used: str
    tokenizer_type: str
    count_source: Literal["local_estimate"] = "local_estimate"
    """No provider is asked."""
    original_response: None = None
    error: bool = False
    error_message: None = None
    status_code: None = None


class CostEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """In USD, at the cheapest and the dearest deployment of the model. Without a maximum in the request
    `output_tokens` is what a budget would set aside.
    """

    model: str
    input_tokens: int
    exact: bool
    output_tokens: int
    input_cost: Usd
    least: Usd
    most: Usd


async def count(services: Services, call: Call[TokenRequest, Nothing]) -> TokenCount:
    """Tokens of a chat request or a text."""
    tokens, exact, tokenizer = await tokens_of(services, call.body)
    return TokenCount(model=call.body.model, tokens=tokens, exact=exact, tokenizer=tokenizer)


async def token_counter(services: Services, call: Call[TokenRequest, Nothing]) -> TokenCounter:
    """The same in LiteLLM's shape."""
    tokens, _, tokenizer = await tokens_of(services, call.body)
    return TokenCounter(
        total_tokens=tokens,
        request_model=call.body.model,
        model_used=_name_there(_served(services, call.body.model), call.body.model),
        tokenizer_type="openai_tokenizer" if tokenizer != "estimate" else "estimate",
    )


async def estimate(services: Services, call: Call[TokenRequest, Nothing]) -> CostEstimate:
    """What the request may cost."""
    body = call.body
    served = _served(services, body.model)
    if served is None:
        raise ApiError(
            404,
            f"the model `{body.model}` is not served here",
            type="invalid_request_error",
            code="model_not_found",
            param="model",
        )
    priced = [
        one for one in served.deployments if one.input_price is not None or one.output_price is not None
    ]
    if not priced:
        raise bad_request(f"the model `{body.model}` has no price", param="model", code="no_price")
    tokens, exact, _ = await tokens_of(services, body)
    given = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    choices = body.n or 1
    outputs = [(one.assumed_output if given is None else given) * choices for one in priced]
    costs = sorted(_cost(one, tokens, output) for one, output in zip(priced, outputs, strict=True))
    return CostEstimate(
        model=body.model,
        input_tokens=tokens,
        exact=exact,
        output_tokens=max(outputs),
        input_cost=Usd(min(_cost(one, tokens, 0) for one in priced), PER_TOKEN_DIGITS),
        least=Usd(costs[0], PER_TOKEN_DIGITS),
        most=Usd(costs[-1], PER_TOKEN_DIGITS),
    )


def _cost(deployment: ServedDeployment, tokens: int, output: int) -> int:
    return tokens * (deployment.input_price or 0) + output * (deployment.output_price or 0)


async def tokens_of(services: Services, body: TokenRequest) -> tuple[int, bool, str]:
    """How many, whether that is exact, and by which encoding."""
    name = _name_there(_served(services, body.model), body.model)
    try:
        # In a thread: the vocabulary may have to be loaded, and a long text takes milliseconds.
        return await asyncio.to_thread(_core.count_tokens, msgspec.json.encode(body), name)
    except ValueError as error:
        raise bad_request(str(error)) from error


def _served(services: Services, name: str) -> ServedModel | None:
    models = services.config.models()
    return next((model for model in models if name == model.name or name in model.aliases), None)


def _name_there(model: ServedModel | None, name: str) -> str:
    """What the model is called at its provider: its family is known by that."""
    return model.deployments[0].model if model is not None and model.deployments else name
