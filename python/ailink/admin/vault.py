"""Values that tenants keep behind tokens: sealed here, so that the store never sees one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from ailink.admin.call import Caller
from ailink.secrets.keyring import Keyring, vault_place
from ailink.store import audit, change_log, vault
from ailink.store.database import Database
from ailink.store.vault import KeptValue, TenantCount

FORGET_US = 600_000_000


class NewValue(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    value: str
    ttl_s: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the data plane wants to be kept, and what it wants to know."""

    tenant: str
    keep: list[NewValue]
    find: list[str]


class FoundValue(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    value: str
    expires_us: int


class Forgetful(Protocol):
    def vault_forget(self) -> None:
        """Values are asked for again."""


class VaultService:
    """One per process."""

    def __init__(
        self, database: Database, keyring: Keyring, plane: Forgetful, now_us: Callable[[], int]
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._plane = plane
        self._now_us = now_us
        self._forgot_us = 0

    async def exchange(self, question: Question) -> list[FoundValue]:
        """Keeps and finds. Raises `DatabaseError`, `EnvelopeError`."""
        now, tenant = self._now_us(), question.tenant
        if question.keep:
            values = await asyncio.to_thread(self._sealed, tenant, question.keep, now)
            async with self._database.transaction() as queries:
                await vault.keep(queries, values)
        found = await vault.find(self._database, tenant, question.find, now)
        return [
            FoundValue(
                name=row.name,
                value=self._keyring.unseal(row.sealed, vault_place(tenant, row.name)).decode(),
                expires_us=row.expires_us,
            )
            for row in found
        ]

    def _sealed(self, tenant: str, values: Sequence[NewValue], now_us: int) -> list[KeptValue]:
        return [
            KeptValue(
                tenant=tenant,
                name=new.name,
                sealed=self._keyring.seal(new.value.encode(), vault_place(tenant, new.name)),
                created_us=now_us,
                expires_us=now_us + new.ttl_s * 1_000_000,
            )
            for new in values
        ]

    async def counts(self) -> list[TenantCount]:
        return await vault.counts(self._database)

    async def purge(self, caller: Caller, tenant: str | None, names: Sequence[str]) -> int:
        """Forgets values on all nodes; how many went."""
        now = self._now_us()
        async with self._database.transaction() as queries:
            gone = await vault.remove(queries, tenant, names)
            event = audit.AuditEvent(
                org_id=None,
                trace_id=caller.request_id,
                at_us=now,
                actor=caller.key_id,
                actor_ip=caller.client_ip,
                action="vault.purge",
                object_type="vault",
                object_id=tenant or "*",
                detail={"values": gone},
            )
            await audit.append(queries, event)
            other_nodes = change_log.What(vault=True)
            await change_log.append(self._database, queries, other_nodes, caller.request_id, now)
        self._plane.vault_forget()
        return gone

    async def forget_old(self) -> None:
        """Removes what is not kept any more, now and then."""
        now = self._now_us()
        if now - self._forgot_us > FORGET_US:
            self._forgot_us = now
            await vault.forget(self._database, now)
