"""From one group of a model's deployments to another, for all requests at once, and back."""

from __future__ import annotations

from collections.abc import Callable

from ailink.admin.call import Caller
from ailink.admin.errors import ApiError, bad_request, not_found
from ailink.admin.served import ConfigView, RefreshError
from ailink.config.schema import Model
from ailink.snapshot.groups import groups_of, serving
from ailink.store import audit, groups
from ailink.store.database import Database
from ailink.store.groups import SwitchedGroup


class Switching:
    """`now_us`: µs since 1970."""

    def __init__(self, database: Database, config: ConfigView, now_us: Callable[[], int]) -> None:
        self._database = database
        self._config = config
        self._now_us = now_us

    def model(self, name: str) -> Model:
        """A model with groups. Raises `ApiError`."""
        found = [model for model in self._config.merged().models if name in (model.name, *model.aliases)]
        if not found:
            raise not_found(f"there is no model '{name}' in the configuration", code="model_not_found")
        if not groups_of(found[0]):
            raise bad_request(
                f"the deployments of '{name}' have no `group`: there is nothing to switch", param="model"
            )
        return found[0]

    async def switch(self, caller: Caller, name: str, to: str | None) -> SwitchedGroup:
        """To a group, or to the one before. In force on this node when it returns, on others within seconds;
        requests under way end where they are. Raises `ApiError`.
        """
        model = self.model(name)
        known = groups_of(model)
        if to is not None and to not in known:
            raise bad_request(
                f"the model '{model.name}' has no group '{to}'; it has {', '.join(known)}", param="group"
            )
        async with self._database.transaction() as queries:
            rows = {row.model: row for row in await groups.everything(queries)}
            now = serving(model, {row.model: row.active for row in rows.values()}) or ""
            before = rows.get(model.name)
            if to is None and (before is None or before.previous not in known):
                raise bad_request(f"'{model.name}' was not switched before: name a `group`", param="group")
            target = to or (before.previous if before else now)
            row = SwitchedGroup(
                model=model.name,
                active=target,
                previous=now,
                updated_us=self._now_us(),
                updated_by=caller.key_id,
            )
            if target == now:
                return before or row
            await groups.put(queries, row, caller.request_id)
            event = audit.AuditEvent(
                trace_id=caller.request_id,
                at_us=row.updated_us,
                actor=caller.key_id,
                actor_ip=caller.client_ip,
                action="model.switch",
                object_type="model",
                object_id=model.name,
                detail={"from": now, "to": target},
            )
            await audit.append(queries, event)
            try:
                # With the rows of this transaction: they are committed when they are in force.
                await self._config.refresh(groups=await groups.active(queries))
            except RefreshError as error:
                raise ApiError(
                    400, str(error), type="invalid_request_error", code="invalid_group", param="group"
                ) from error
        return row

    async def follow(self) -> None:
        """Puts in force what was switched on another node. Raises RefreshError."""
        stored = await groups.active(self._database)
        if stored != dict(self._config.groups()):
            await self._config.refresh(groups=stored)
