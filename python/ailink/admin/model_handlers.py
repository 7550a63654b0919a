"""`/model/info`: what is served, one entry per deployment as LiteLLM has it; without secrets."""

from __future__ import annotations

import msgspec

from ailink.admin.call import Call, Caller, Nothing
from ailink.admin.key_access import allowed_models, may_use
from ailink.admin.served import ServedDeployment, ServedModel
from ailink.admin.services import Services
from ailink.ledger.money import Usd, per_token


class ModelQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    litellm_model_id: str | None = None


class ModelParams(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is `provider/name`; `api_base` is told to admins only."""

    model: str
    api_base: str | None = None


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Costs are US dollars per token; null when no price is known."""

    id: str
    key: str
    mode: str
    provider: str
    owned_by: str
    created: int
    weight: int
    aliases: list[str]
    fallbacks: list[str]
    input_cost_per_token: Usd | None
    output_cost_per_token: Usd | None
    cache_read_input_token_cost: Usd | None
    cache_creation_input_token_cost: Usd | None
    price_version: str
    max_input_tokens: int | None
    max_output_tokens: int | None
    input_modalities: list[str]
    output_modalities: list[str]
    capabilities: list[str]
    deprecation_date: str | None
    """Day the provider ends the model."""
    db_model: bool = False


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    model_name: str
    litellm_params: ModelParams
    model_info: ModelDetails


class ModelsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelEntry]


async def model_info(services: Services, call: Call[Nothing, ModelQuery]) -> ModelsView:
    """A key sees the models it may use."""
    wanted = call.query.litellm_model_id
    allowed = await _allowed(services, call.caller)
    return ModelsView(
        data=[
            _entry(model, deployment, admin=call.caller.role == "admin")
            for model in services.config.models()
            if may_use(allowed, model.name)
            for deployment in model.deployments
            if wanted in (None, deployment.id)
        ]
    )


async def _allowed(services: Services, caller: Caller) -> list[str] | None:
    if caller.role == "admin":
        return None
    record = await services.keys.by_id(caller.key_id)
    return [] if record is None else allowed_models(record.models)


def _entry(model: ServedModel, deployment: ServedDeployment, *, admin: bool) -> ModelEntry:
    return ModelEntry(
        model_name=model.name,
        litellm_params=ModelParams(
            model=f"{deployment.provider}/{deployment.model}", api_base=deployment.base_url if admin else None
        ),
        model_info=ModelDetails(
            id=deployment.id,
            key=deployment.model,
            mode=model.mode,
            provider=deployment.provider,
            owned_by=model.owned_by,
            created=model.created,
            weight=deployment.weight,
            aliases=list(model.aliases),
            fallbacks=list(model.fallbacks),
            input_cost_per_token=_price(deployment.input_price),
            output_cost_per_token=_price(deployment.output_price),
            cache_read_input_token_cost=_price(deployment.cache_read_price),
            cache_creation_input_token_cost=_price(deployment.cache_write_price),
            price_version=deployment.price_version,
            max_input_tokens=model.context_window,
            max_output_tokens=model.max_output,
            input_modalities=list(model.takes),
            output_modalities=list(model.gives),
            capabilities=list(model.can),
            deprecation_date=model.ends,
        ),
    )


def _price(pico_per_million: int | None) -> Usd | None:
    return None if pico_per_million is None else per_token(pico_per_million)
