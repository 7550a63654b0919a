"""`/model/new`, `/model/update`, `/model/delete`, `/model/block`: deployments beside those of the file, in
LiteLLM's words.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.errors import bad_request
from ailink.admin.litellm_fields import MODEL_INFO, MODEL_PARAMS, without_inert
from ailink.admin.services import Services
from ailink.store.config_objects import ConfigObject

HIDDEN = "********"
MOST_FIELDS = 100

ModelName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
ModelId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$(?!\n)")]
Fields = Annotated[dict[str, Any], Meta(max_length=MOST_FIELDS)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class NewModel(_Body, frozen=True, kw_only=True):
    """`litellm_params`: `model` is `provider/name`; `model_info.id` may name the deployment."""

    model_name: ModelName
    litellm_params: Fields
    model_info: Fields = {}


class UpdateModel(_Body, frozen=True, kw_only=True):
    """What is left out stays, null takes away. `model_info.id` names the deployment."""

    model_name: ModelName | None = None
    litellm_params: Fields | None = None
    model_info: Fields | None = None
    blocked: bool | UnsetType | None = UNSET


class ModelInfoId(_Body, frozen=True, kw_only=True):
    id: ModelId


class ModelIdBody(_Body, frozen=True, kw_only=True):
    model_id: ModelId


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored deployment. Values that are secret are hidden."""

    model_id: str
    model_name: str
    litellm_params: dict[str, Any]
    model_info: dict[str, Any]
    blocked: bool
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class ModelDeleted(msgspec.Struct, frozen=True, kw_only=True):
    message: str


async def new(services: Services, call: Call[NewModel, Nothing]) -> ModelRow:
    """In force when this is answered, on other nodes within a second."""
    body = call.body
    model_id = _named(body.model_info) or str(uuid.uuid4())
    content = {"litellm_params": _params(body.litellm_params), "model_info": _info(body.model_info)}
    record = await services.models.create(call.caller, "model", model_id, body.model_name, content)
    return row_view(record)


async def update(services: Services, call: Call[UpdateModel, Nothing]) -> ModelRow:
    model_id = _named(call.body.model_info or {})
    if model_id is None:
        raise bad_request(
            "say which deployment: `model_info.id`", param="model_info.id", code="missing_parameter"
        )
    return await _update(services, call, model_id)


async def update_named(services: Services, call: Call[UpdateModel, Nothing]) -> ModelRow:
    named = _named(call.body.model_info or {})
    if named not in (None, call.path["model_id"]):
        raise bad_request("the id of a deployment cannot be changed", param="model_info.id")
    return await _update(services, call, call.path["model_id"])


async def _update(services: Services, call: Call[UpdateModel, Nothing], model_id: str) -> ModelRow:
    body = call.body
    changes: dict[str, Any] = {}
    if body.litellm_params is not None:
        changes["litellm_params"] = _params(body.litellm_params)
    if body.model_info is not None:
        changes["model_info"] = _info(body.model_info)
    record = await services.models.update(call.caller, "model", model_id, body.model_name, changes)
    if isinstance(body.blocked, bool) and body.blocked != record.blocked:
        record = await services.models.set_blocked(call.caller, model_id, blocked=body.blocked)
    return row_view(record)


async def delete(services: Services, call: Call[ModelInfoId, Nothing]) -> ModelDeleted:
    await services.models.delete(call.caller, "model", call.body.id)
    return ModelDeleted(message=f"Model: {call.body.id} deleted successfully")


async def block(services: Services, call: Call[ModelIdBody, Nothing]) -> ModelRow:
    """Takes no requests until it is unblocked."""
    return row_view(await services.models.set_blocked(call.caller, call.body.model_id, blocked=True))


async def unblock(services: Services, call: Call[ModelIdBody, Nothing]) -> ModelRow:
    return row_view(await services.models.set_blocked(call.caller, call.body.model_id, blocked=False))


def row_view(record: ConfigObject) -> ModelRow:
    return ModelRow(
        model_id=record.id,
        model_name=record.name,
        litellm_params=shown_params(record),
        model_info={**record.body.get("model_info", {}), "id": record.id, "db_model": True},
        blocked=record.blocked,
        created_at=instant(record.created_us),
        created_by=record.created_by,
        updated_at=instant(record.updated_us),
        updated_by=record.updated_by,
    )


def shown_params(record: ConfigObject) -> dict[str, Any]:
    """Its parameters, of which the secret ones are named only."""
    hidden = {"api_key": HIDDEN} if record.sealed is not None else {}
    return {**record.body.get("litellm_params", {}), **hidden}


def _named(info: dict[str, Any]) -> str | None:
    name = info.get("id")
    if name is None:
        return None
    try:
        return msgspec.convert(name, ModelId)
    except msgspec.ValidationError as error:
        raise bad_request(f"`model_info.id`: {error}", param="model_info.id") from error


def _params(params: dict[str, Any]) -> dict[str, Any]:
    return without_inert(params, MODEL_PARAMS, "litellm_params.")


def _info(info: dict[str, Any]) -> dict[str, Any]:
    """What it says beyond the id, and beyond what is the gateway's to say."""
    kept = without_inert(info, MODEL_INFO, "model_info.")
    own = {"id", "db_model", "created_at", "created_by", "updated_at", "updated_by"}
    return {name: value for name, value in kept.items() if name not in own}
