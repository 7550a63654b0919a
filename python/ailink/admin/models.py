"""Deployments of models, providers, and limits, made through the API: stored with what is secret sealed, in
force on this node when the change is answered, on the others within a second. What cannot be put in force is
not stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ailink.admin.call import Caller
from ailink.admin.changes import Change, Changes
from ailink.admin.errors import ApiError, bad_request, conflict, not_found
from ailink.admin.served import ConfigView, RefreshError
from ailink.admin.stored_config import sealed, secrets_of
from ailink.secrets.keyring import Keyring
from ailink.store.config_objects import (
    ConfigObject,
    Kind,
    ObjectChange,
    config_objects,
    provider_id,
)
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Match

# Fields whose values never come out again.
SECRET = frozenset({"api_key", "extra_headers", "headers"})


class ModelService:
    """All that happens to stored models and providers."""

    def __init__(self, changes: Changes, keyring: Keyring, config: ConfigView) -> None:
        self._changes = changes
        self._keyring = keyring
        self._config = config

    async def all(self, kind: Kind) -> dict[str, ConfigObject]:
        """By id."""
        match = Match(equal={"kind": kind})
        return {row.id: row for row in await config_objects.find(self._changes.database, EVERYWHERE, match)}

    async def create(
        self, caller: Caller, kind: Kind, object_id: str, name: str, body: Mapping[str, Any]
    ) -> ConfigObject:
        """Raises `ApiError`: 400 for what cannot be used, 409 for what exists."""
        plain, secret = _parted(kind, body)
        async with self._change(caller, kind, object_id) as change:
            if await config_objects.get(change.queries, EVERYWHERE, object_id) is not None:
                raise conflict(f"a {kind} with this id exists already", f"{kind}_exists", "id")
            record = ConfigObject(
                id=object_id,
                kind=kind,
                name=name,
                body=plain,
                sealed=sealed(self._keyring, object_id, secret),
                # Whoever is not trusted with everything may not reach into the gateway's own network.
                public_only=not caller.acting.is_admin,
                **change.stamps(),
            )
            return await change.insert(config_objects, record)

    async def update(
        self, caller: Caller, kind: Kind, object_id: str, name: str | None, changes: Mapping[str, Any]
    ) -> ConfigObject:
        """What is left out stays, null takes away. Raises `ApiError`: 404, 400, 409."""
        async with self._change(caller, kind, object_id) as change:
            before = await self._found(change.queries, kind, object_id)
            known = dict(before.body)
            if before.sealed is not None:
                known = _joined(kind, known, secrets_of(self._keyring, before))
            plain, secret = _parted(kind, _merged(known, changes))
            return await change.update(
                config_objects,
                before,
                name=before.name if name is None else name,
                body=plain,
                sealed=sealed(self._keyring, object_id, secret),
                public_only=before.public_only or not caller.acting.is_admin,
            )

    async def set_blocked(self, caller: Caller, object_id: str, *, blocked: bool) -> ConfigObject:
        """Raises `ApiError` (404)."""
        async with self._change(caller, "model", object_id) as change:
            before = await self._found(change.queries, "model", object_id)
            action = "block" if blocked else "unblock"
            return await change.update(config_objects, before, action, blocked=blocked)

    async def delete(self, caller: Caller, kind: Kind, object_id: str) -> ConfigObject:
        """Raises `ApiError`: 404, 409 while something needs it, naming what."""
        async with self._change(caller, kind, object_id, removing=True) as change:
            record = await self._found(change.queries, kind, object_id)
            await change.remove(config_objects, record)
        return record

    async def _found(self, queries: Queries, kind: Kind, object_id: str) -> ConfigObject:
        record = await config_objects.get(queries, EVERYWHERE, object_id)
        if record is not None and record.kind == kind:
            return record
        in_file = {
            "model": {place.id for model in self._config.models() for place in model.deployments},
            "provider": {provider_id(name) for name in self._config.file().providers},
        }
        if object_id in in_file.get(kind, ()):
            raise conflict(
                f"this {kind} stands in the configuration file; change it there", "in_the_file", "id"
            )
        raise not_found(f"no such {kind}", param="id", code=f"{kind}_not_found")

    def _models_at(self, object_id: str) -> list[str]:
        """The models with a deployment at this provider; none for what is no provider."""
        return [
            f"model {model.name}"
            for model in self._config.models()
            if any(provider_id(place.provider) == object_id for place in model.deployments)
        ]

    @asynccontextmanager
    async def _change(
        self, caller: Caller, kind: Kind, object_id: str, *, removing: bool = False
    ) -> AsyncIterator[Change]:
        """In force with the rows of this transaction, which is committed then."""
        in_force = False
        try:
            async with self._changes.make(caller) as change:
                yield change
                change.config = True
                rows = await config_objects.find(change.queries, EVERYWHERE)
                await self._config.refresh(objects=ObjectChange(rows=rows, id=object_id))
                in_force = True
        except RefreshError as error:
            if removing:
                users = self._models_at(object_id)
                by = f" by {', '.join(users)}" if users else ""
                raise conflict(f"it is in use{by}: {error}", "in_use") from error
            raise _unusable(kind, error) from error
        except BaseException:
            if in_force:
                with contextlib.suppress(RefreshError):
                    await self._config.refresh()
            raise


def _unusable(kind: Kind, error: RefreshError) -> ApiError:
    if kind == "limit":
        # As whatever else is wrong with one.
        return bad_request(f"`{error.path}`: {error}" if error.path else str(error), param=error.path or None)
    unknown = "not understood in this version" in str(error)
    code = "unsupported_parameter" if unknown else f"invalid_{kind}"
    return bad_request(str(error), param=error.path or None, code=code)


def _parted(kind: Kind, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be shown, and what is secret."""
    given = dict(body.get("litellm_params", {}) if kind == "model" else body)
    secret = {name: given.pop(name) for name in SECRET & given.keys()}
    return ({**body, "litellm_params": given} if kind == "model" else given), secret


def _joined(kind: Kind, plain: dict[str, Any], secret: Mapping[str, Any]) -> dict[str, Any]:
    if kind != "model":
        return {**plain, **secret}
    return {**plain, "litellm_params": {**plain.get("litellm_params", {}), **secret}}


def _merged(known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings of the first level are merged, null takes away."""
    merged = dict(known)
    for name, value in changes.items():
        if name in ("litellm_params", "model_info") and isinstance(value, Mapping):
            merged[name] = _merged(merged.get(name, {}), value)
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged
