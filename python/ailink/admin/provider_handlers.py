"""`/v1/providers`: the providers in use, those of the file and those made here, and how they are doing."""

from __future__ import annotations

from typing import Any

import msgspec

from ailink.admin.call import Call, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.errors import not_found
from ailink.admin.rest_fields import (
    Deleted,
    ProviderBody,
    ProviderChanges,
    ProvidersView,
    ProviderView,
)
from ailink.admin.served import ServedProvider
from ailink.admin.services import Services
from ailink.store.config_objects import ConfigObject, provider_id

UNHEALTHY = "open"


async def list_providers(services: Services, call: Call[Nothing, Nothing]) -> ProvidersView:
    """Never with a key."""
    return ProvidersView(data=await _views(services))


async def get(services: Services, call: Call[Nothing, Nothing]) -> Tagged[ProviderView]:
    name = call.path["name"]
    stored = (await services.models.all("provider")).get(provider_id(name))
    for view in await _views(services):
        if view.name == name:
            return Tagged(view, etag(1 if stored is None else stored.version))
    raise not_found("no such provider", param="name", code="provider_not_found")


async def new(services: Services, call: Call[ProviderBody, Nothing]) -> Tagged[ProviderView]:
    """In force when this is answered; models name it as `provider/model`."""
    body = call.body
    object_id = provider_id(body.name)
    record = await services.models.create(call.caller, "provider", object_id, body.name, body.settings)
    return await _made(services, call, record)


async def update(services: Services, call: Call[ProviderChanges, Nothing]) -> Tagged[ProviderView]:
    object_id = provider_id(call.path["name"])
    record = await services.models.update(call.caller, "provider", object_id, None, call.body.settings)
    return await _made(services, call, record)


async def delete(services: Services, call: Call[Nothing, Nothing]) -> Deleted:
    """Refused while a model is there."""
    record = await services.models.delete(call.caller, "provider", provider_id(call.path["name"]))
    return Deleted(id=record.name)


async def _made(services: Services, call: Call[Any, Any], record: ConfigObject) -> Tagged[ProviderView]:
    for view in await _views(services):
        if view.name == record.name:
            return Tagged(view, etag(record.version))
    raise not_found("no such provider", param="name", code="provider_not_found")


async def _views(services: Services) -> list[ProviderView]:
    states = {
        row["deployment"]: row["state"]
        for row in msgspec.msgpack.decode(services.plane.deployment_health(), type=list[dict[str, Any]])
    }
    stored = {record.name for record in (await services.models.all("provider")).values()}
    models = services.config.models()
    views = []
    for provider in services.config.providers():
        here = [
            (model.name, place.id)
            for model in models
            for place in model.deployments
            if place.provider == provider.name
        ]
        views.append(
            ProviderView(
                name=provider.name,
                title=provider.title,
                source=_source(provider, stored),
                dialect=provider.dialect,
                base_url=provider.base_url,
                has_key=provider.has_key,
                deployments=len(here),
                healthy=sum(states.get(place) != UNHEALTHY for _, place in here),
                models=list(dict.fromkeys(name for name, _ in here)),
            )
        )
    return views


def _source(provider: ServedProvider, stored: set[str]) -> str:
    if provider.name in stored:
        return "api"
    return "file" if provider.in_file else "catalogue"
