"""`/model/info`: what is served, one entry per deployment as LiteLLM has it; without secrets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Caller, Nothing
from ailink.admin.errors import not_found
from ailink.admin.key_access import allowed_models, may_use
from ailink.admin.model_changes import shown_params
from ailink.admin.served import ServedDeployment, ServedModel
from ailink.admin.services import Services
from ailink.admin.setting_fields import stamps
from ailink.ledger.money import Usd, per_token
from ailink.store.config_objects import ConfigObject
from ailink.store.rows import Match
from ailink.store.tenancy import access_groups


class ModelQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    litellm_model_id: str | None = None


class ModelPageQuery(ModelQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model_id: str | None = msgspec.field(default=None, name="modelId")
    model: str | None = None
    search: str | None = None
    access_group: Annotated[str | None, Meta(description="Models that this group names.")] = None
    wildcard_only: Annotated[bool, Meta(description="Models with `*` in their names.")] = False
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Annotated[int, Meta(ge=1, le=500)] = 50
    sort_by: Literal["model_name", "created_at", "updated_at", "costs", "status"] | None = msgspec.field(
        default=None, name="sortBy"
    )
    sort_order: Literal["asc", "desc"] = msgspec.field(default="asc", name="sortOrder")


class GroupQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model_group: str | None = None


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
    """`litellm_params`: `model` is `provider/name`; `api_base`, and all that was given to a deployment of the
    API but secrets, is told to admins only. `model_info`: what `ModelDetails` has, and what a deployment of
    the API was given besides.
    """

    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any]


class ModelsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelEntry]


async def model_info(services: Services, call: Call[Nothing, ModelQuery]) -> ModelsView:
    """A key sees the models it may use."""
    wanted = call.query.litellm_model_id
    entries = await _entries(services, call.caller)
    found = [entry for entry in entries if wanted in (None, entry.model_info["id"])]
    if wanted is not None and not found:
        raise not_found("no such model", param="litellm_model_id", code="model_not_found")
    return ModelsView(data=found)


async def _entries(services: Services, caller: Caller) -> list[ModelEntry]:
    allowed = await _allowed(services, caller)
    stored = await services.models.all("model")
    admin = caller.acting.is_admin
    return [
        _entry(model, deployment, stored.get(deployment.id), admin=admin)
        for model in services.config.models()
        if may_use(allowed, model.name)
        for deployment in model.deployments
    ]


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelEntry]
    total_count: int
    current_page: int
    total_pages: int
    size: int


class ModelGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Costs are US dollars per token: the highest among the deployments."""

    model_group: str
    providers: list[str]
    mode: str
    max_input_tokens: int | None
    max_output_tokens: int | None
    input_cost_per_token: Usd | None
    output_cost_per_token: Usd | None
    supports_vision: bool
    supports_function_calling: bool
    supports_reasoning: bool
    supports_web_search: bool
    supports_parallel_function_calling: bool
    is_public_model_group: bool = False


class GroupsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ModelGroup]


async def model_page(services: Services, call: Call[Nothing, ModelPageQuery]) -> ModelPage:
    """A key sees the models it may use."""
    query = call.query
    wanted = query.model_id or query.litellm_model_id
    grouped = await _of_group(services, call.caller, query.access_group)
    entries = [
        entry
        for entry in await _entries(services, call.caller)
        if wanted in (None, entry.model_info["id"])
        and query.model in (None, entry.model_name)
        and (grouped is None or may_use(grouped, entry.model_name))
        and (not query.wildcard_only or "*" in entry.model_name)
        and (query.search or "").lower() in entry.model_name.lower()
    ]
    if query.sort_by is not None:
        entries.sort(key=lambda entry: _order(entry, query.sort_by), reverse=query.sort_order == "desc")
    first = (query.page - 1) * query.size
    return ModelPage(
        data=entries[first : first + query.size],
        total_count=len(entries),
        current_page=query.page,
        total_pages=-(-len(entries) // query.size),
        size=query.size,
    )


async def _of_group(services: Services, caller: Caller, name: str | None) -> list[str] | None:
    """Models of the groups of this name that the caller may see; None where no group is asked for."""
    if name is None:
        return None
    found = await access_groups.find(
        services.database, caller.acting.reach("access_groups.read"), Match(equal={"name": name})
    )
    return [model for group in found for model in group.models]


def _order(entry: ModelEntry, by: str | None) -> tuple[Any, ...]:
    info = entry.model_info
    if by == "costs":
        price = info.get("input_cost_per_token")
        return (price is not None, 0 if price is None else price.value, entry.model_name)
    if by == "status":
        return (info["db_model"], entry.model_name)
    made = info.get(by or "") if by in ("created_at", "updated_at") else None
    return ("" if made is None else str(made), entry.model_name, info["id"])


async def group_info(services: Services, call: Call[Nothing, GroupQuery]) -> GroupsView:
    """A key sees the models it may use."""
    allowed = await _allowed(services, call.caller)
    return GroupsView(
        data=[
            _group(model)
            for model in services.config.models()
            if may_use(allowed, model.name) and call.query.model_group in (None, model.name)
        ]
    )


def _group(model: ServedModel) -> ModelGroup:
    def dearest(name: str) -> Usd | None:
        found = [price for place in model.deployments if (price := getattr(place, name)) is not None]
        return _price(max(found, default=None))

    return ModelGroup(
        model_group=model.name,
        providers=sorted({place.provider for place in model.deployments}),
        mode=model.mode,
        max_input_tokens=model.context_window,
        max_output_tokens=model.max_output,
        input_cost_per_token=dearest("input_price"),
        output_cost_per_token=dearest("output_price"),
        supports_vision="vision" in model.can,
        supports_function_calling="tools" in model.can,
        supports_reasoning="reasoning" in model.can,
        supports_web_search="web_search" in model.can,
        supports_parallel_function_calling="parallel_tools" in model.can,
    )


async def _allowed(services: Services, caller: Caller) -> list[str] | None:
    if caller.role == "admin":
        return None
    record = await services.keys.by_id(caller.key_id)
    return [] if record is None else allowed_models(record.models)


def _entry(
    model: ServedModel, deployment: ServedDeployment, stored: ConfigObject | None, *, admin: bool
) -> ModelEntry:
    details = ModelDetails(
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
        db_model=stored is not None,
    )
    info = msgspec.structs.asdict(details)
    params: dict[str, Any] = {"api_base": deployment.base_url if admin else None}
    if stored is not None:
        info = {**stored.body.get("model_info", {}), **info, **stamps(stored)}
        params |= shown_params(stored) if admin else {}
    params["model"] = f"{deployment.provider}/{deployment.model}"
    return ModelEntry(model_name=model.name, litellm_params=params, model_info=info)


def _price(pico_per_million: int | None) -> Usd | None:
    return None if pico_per_million is None else per_token(pico_per_million)
