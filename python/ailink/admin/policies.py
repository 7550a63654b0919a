"""Policies made through the API: a change is checked, stored with its version, and in force when it is
answered; when it cannot be put in force, nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ailink.admin.call import Caller
from ailink.admin.errors import ApiError, bad_request, conflict, not_found
from ailink.admin.served import ConfigView, RefreshError
from ailink.config.policies import PolicyRule
from ailink.config.policy_text import PolicyFault, read_policy
from ailink.store import audit, change_log, policies
from ailink.store.database import Database
from ailink.store.policies import PolicyRecord


class PolicyService:
    """All that happens to stored policies. `now_us`: µs since 1970."""

    def __init__(self, database: Database, config: ConfigView, now_us: Callable[[], int]) -> None:
        self._database = database
        self._config = config
        self._now_us = now_us

    def read(self, name: str, body: Mapping[str, Any]) -> PolicyRule:
        """Raises `ApiError` (400) with the place of the fault."""
        if "name" in body and body["name"] != name:
            raise bad_request("the name of a policy cannot be changed", param="policy.name")
        try:
            return read_policy(name, body, self._config.file())
        except PolicyFault as fault:
            place = f"policy.{fault.path}" if fault.path else "policy"
            raise bad_request(str(fault), param=place, code="invalid_policy") from fault

    async def get(self, name: str) -> PolicyRecord:
        """Raises `ApiError` (404)."""
        record = await policies.by_name(self._database, name)
        if record is None:
            raise not_found(f"no policy '{name}' was made through the API", code="policy_not_found")
        return record

    async def versions(self, name: str) -> list[PolicyRecord]:
        """Newest first. Raises `ApiError` (404)."""
        found = await policies.versions(self._database, name)
        if not found:
            raise not_found(f"no policy '{name}' was made through the API", code="policy_not_found")
        return found

    async def put(self, caller: Caller, name: str, body: Mapping[str, Any], action: str) -> PolicyRecord:
        """Stores a policy, or its next version. Raises `ApiError`."""
        if any(rule.name == name for rule in self._config.file().policies):
            raise conflict(f"the policy '{name}' stands in the configuration file; change it there")
        self.read(name, body)
        plain = {key: value for key, value in body.items() if key != "name"}
        return await self._change(caller, name, plain, action)

    async def delete(self, caller: Caller, name: str) -> PolicyRecord:
        """Raises `ApiError` (404)."""
        await self.get(name)
        return await self._change(caller, name, None, "policy.delete")

    async def rollback(self, caller: Caller, name: str, version: int) -> PolicyRecord:
        """Makes a former version the newest. Raises `ApiError` (404)."""
        found = [old for old in await policies.versions(self._database, name) if old.version == version]
        if not found or found[0].body is None:
            raise not_found(f"the policy '{name}' has no version {version}", code="policy_not_found")
        return await self.put(caller, name, found[0].body, "policy.rollback")

    async def _change(
        self, caller: Caller, name: str, body: dict[str, Any] | None, action: str
    ) -> PolicyRecord:
        async with self._database.transaction() as queries:
            known = await policies.versions(queries, name)
            record = PolicyRecord(
                name=name,
                version=known[0].version + 1 if known else 1,
                body=body,
                at_us=self._now_us(),
                by=caller.key_id,
            )
            await policies.put(queries, record, caller.request_id)
            event = audit.AuditEvent(
                org_id=None,
                trace_id=caller.request_id,
                at_us=record.at_us,
                actor=caller.key_id,
                actor_ip=caller.client_ip,
                action=action,
                object_type="policy",
                object_id=name,
                detail={"version": record.version},
            )
            await audit.append(queries, event)
            other_nodes = change_log.What(config=True)
            await change_log.append(self._database, queries, other_nodes, caller.request_id, self._now_us())
            try:
                # With the rows of this transaction: they are committed when they are in force.
                await self._config.refresh(await policies.everything(queries))
            except RefreshError as error:
                raise ApiError(
                    400, str(error), type="invalid_request_error", code="invalid_policy", param="policy"
                ) from error
        return record
