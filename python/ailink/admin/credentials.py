"""Provider credentials: sealed in the database, open only in the data plane's slots.

As with keys, a change is pushed to the plane before it is committed, and pushed back when the commit fails.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ailink.admin.call import Caller
from ailink.admin.errors import ApiError, bad_request, not_found
from ailink.admin.plane import Plane
from ailink.admin.served import ConfigView
from ailink.observe.redaction import Redactor
from ailink.secrets.keyring import Keyring, credential_place
from ailink.store import audit, change_log, credentials
from ailink.store.credentials import CredentialRecord, slot
from ailink.store.database import ConflictError, Database, Queries


class CredentialService:
    """All that happens to stored credentials. `now_us` is the clock, µs since 1970."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        plane: Plane,
        config: ConfigView,
        redactor: Redactor,
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._plane = plane
        self._config = config
        self._redactor = redactor
        self._now_us = now_us

    async def load(self) -> bytes:
        """All of them for the plane: a MessagePack map of slot id to secret. Raises `EnvelopeError` for a
        damaged one.
        """
        opened = {}
        for record in await credentials.everything(self._database):
            secret = self._open(record)
            self._redactor.add(secret.decode())
            opened[slot(record.name)] = secret
        return msgspec.msgpack.encode(opened)

    async def page(self) -> list[CredentialRecord]:
        """All of them, by name."""
        return await credentials.everything(self._database)

    async def get(self, name: str) -> CredentialRecord:
        """Raises `ApiError` (404)."""
        return _present(await credentials.by_name(self._database, name))

    async def create(self, caller: Caller, name: str, secret: str, info: dict[str, Any]) -> None:
        """Stores a new credential, ready for use when this returns. Raises `ApiError` for a taken name."""
        now = self._now_us()
        credential_id = f"cred_{secrets.token_hex(12)}"
        record = CredentialRecord(
            id=credential_id,
            trace_id=caller.request_id,
            name=name,
            sealed=self._keyring.seal(secret.encode(), credential_place(None, credential_id)),
            info=info,
            created_us=now,
            created_by=caller.key_id,
            updated_us=now,
            updated_by=caller.key_id,
        )
        self._redactor.add(secret)
        async with self._change(name) as queries:
            await credentials.insert(queries, record)
            await self._audit(queries, caller, "credential.create", record, {"info": sorted(info)})
            self._push(name, secret.encode())

    async def update(
        self, caller: Caller, name: str, secret: str | None, info: dict[str, Any] | None
    ) -> None:
        """Changes the secret, what may be shown, or both. Raises `ApiError` (404)."""
        async with self._change(name) as queries:
            before = _present(await credentials.by_name(queries, name))
            after = msgspec.structs.replace(
                before,
                sealed=before.sealed if secret is None else self._sealed(before, secret),
                info=before.info if info is None else info,
                trace_id=caller.request_id,
                updated_us=self._now_us(),
                updated_by=caller.key_id,
            )
            await credentials.update(queries, after)
            await self._audit(
                queries, caller, "credential.update", after, {"secret_changed": secret is not None}
            )
            if secret is not None:
                self._redactor.add(secret)
                self._push(name, secret.encode())

    async def delete(self, caller: Caller, name: str) -> None:
        """Forgets a credential. Raises `ApiError`: 404, or 409 while a deployment uses it."""
        async with self._change(name) as queries:
            record = _present(await credentials.by_name(queries, name))
            if name in self._config.credentials_in_use():
                raise ApiError(
                    409,
                    f"credential {name!r} is used by a deployment: take it out of the configuration first",
                    type="invalid_request_error",
                    code="credential_in_use",
                )
            await credentials.delete(queries, record.id)
            await self._audit(queries, caller, "credential.delete", record, {})
            self._push(name, b"")

    @asynccontextmanager
    async def _change(self, name: str) -> AsyncIterator[Queries]:
        try:
            async with self._database.transaction() as queries:
                yield queries
                what = change_log.What(credentials=True)
                await change_log.append(self._database, queries, what, None, self._now_us())
        except ConflictError as error:
            raise bad_request(
                f"credential {name!r} exists already: change it with PATCH",
                param="credential_name",
                code="credential_exists",
            ) from error
        except ApiError:
            raise  # raised before anything was pushed
        except BaseException:
            await self._restore(name)
            raise

    async def _restore(self, name: str) -> None:
        async with self._database.transaction() as queries:
            record = await credentials.by_name(queries, name)
            self._push(name, b"" if record is None else self._open(record))

    def _push(self, name: str, secret: bytes) -> None:
        self._plane.push_credentials(msgspec.msgpack.encode({slot(name): secret}))

    def _open(self, record: CredentialRecord) -> bytes:
        return self._keyring.unseal(record.sealed, credential_place(record.org_id, record.id))

    def _sealed(self, record: CredentialRecord, secret: str) -> str:
        return self._keyring.seal(secret.encode(), credential_place(record.org_id, record.id))

    async def _audit(
        self, queries: Queries, caller: Caller, action: str, record: CredentialRecord, detail: dict[str, Any]
    ) -> None:
        event = audit.AuditEvent(
            org_id=record.org_id,
            trace_id=caller.request_id,
            at_us=self._now_us(),
            actor=caller.key_id,
            actor_ip=caller.client_ip,
            action=action,
            object_type="credential",
            object_id=record.id,
            detail={"credential_name": record.name, **detail},
        )
        await audit.append(queries, event)


def _present(record: CredentialRecord | None) -> CredentialRecord:
    if record is None:
        raise not_found("no such credential", param="credential_name", code="credential_not_found")
    return record
