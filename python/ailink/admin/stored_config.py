"""Models and providers of the store, opened and put beside the file's."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.config.schema import Config
from ailink.config.stored import (
    Stored,
    StoredLimit,
    StoredModel,
    StoredProvider,
    Surroundings,
    with_usable,
)
from ailink.providers import Registry
from ailink.secrets.keyring import Keyring, object_place
from ailink.store.config_objects import ConfigObject, ObjectChange, config_objects
from ailink.store.database import Database
from ailink.store.reach import EVERYWHERE

log = logging.getLogger(__name__)


class StoredConfig:
    """One per process."""

    def __init__(self, database: Database, keyring: Keyring, registry: Registry) -> None:
        self._database = database
        self._keyring = keyring
        self._registry = registry
        self._left_out: frozenset[str] = frozenset()

    async def beside(self, config: Config, change: ObjectChange | None) -> Config:
        """The file's configuration with these objects, or else with those of the database; without those that
        do not fit it any more.

        Raises StoredFault for a change after which something does not fit that did, `DatabaseError`,
        `EnvelopeError`.
        """
        found = await config_objects.find(self._database, EVERYWHERE) if change is None else change.rows
        stored = opened(self._keyring, [record for record in found if not record.blocked])
        around = Surroundings(registry=self._registry, env=dict(os.environ))
        merged, faults = await asyncio.to_thread(with_usable, config, stored, around)
        for fault in faults:
            if change is not None and (fault.id == change.id or fault.id not in self._left_out):
                raise fault
            log.error("%s, made through the API, is not in force: %s: %s", fault.id, fault.path, fault)
        self._left_out = frozenset(fault.id for fault in faults)
        return merged


def opened(keyring: Keyring, records: Sequence[ConfigObject]) -> Stored:
    """With their secrets. Raises `EnvelopeError`."""
    ordered = sorted(records, key=lambda record: (record.created_us, record.id))
    return Stored(
        models=[
            StoredModel(
                id=record.id,
                name=record.name,
                params={**record.body.get("litellm_params", {}), **secrets_of(keyring, record)},
                info=record.body.get("model_info", {}),
                public_only=record.public_only,
            )
            for record in ordered
            if record.kind == "model"
        ],
        providers=[
            StoredProvider(
                id=record.id, name=record.name, body={**record.body, **secrets_of(keyring, record)}
            )
            for record in ordered
            if record.kind == "provider"
        ],
        limits=[
            StoredLimit(id=record.id, on=record.name, words=record.body)
            for record in ordered
            if record.kind == "limit"
        ],
    )


def secrets_of(keyring: Keyring, record: ConfigObject) -> dict[str, Any]:
    """What is secret of it. Raises `EnvelopeError`."""
    if record.sealed is None:
        return {}
    plain: dict[str, Any] = msgspec.json.decode(keyring.unseal(record.sealed, object_place(record.id)))
    return plain


def sealed(keyring: Keyring, object_id: str, secrets: dict[str, Any]) -> str | None:
    return keyring.seal(msgspec.json.encode(secrets), object_place(object_id)) if secrets else None
