"""Once a day: models that end soon are told of, those that have ended are replaced."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final

from ailink.admin.served import ConfigView, ServedModel
from ailink.observe.alerts import AlertSender
from ailink.store.database import Database

TOLD_DAYS: Final = (60, 30, 7, 1, 0, -1)
"""So many days before its end a model is told of; -1: the day behind it."""

_TOLD = "SELECT 1 FROM alert_delivery WHERE kind = ? AND message = ? LIMIT 1"
KIND: Final = "model_ending"


class Endings:
    """`now_us`: µs since 1970."""

    def __init__(
        self, database: Database, config: ConfigView, alerts: AlertSender, now_us: Callable[[], int]
    ) -> None:
        self._database = database
        self._config = config
        self._alerts = alerts
        self._now_us = now_us
        self._seen: date | None = None

    async def once(self) -> None:
        """Does what a new day asks for; nothing on the same day. Raises RefreshError and DatabaseError."""
        today = datetime.fromtimestamp(self._now_us() / 1e6, UTC).date()
        if today == self._seen:
            return
        replaced = {model.name: model.replacement for model in self._config.file().models}
        for model in self._config.models():
            if model.ends is None:
                continue
            left = (date.fromisoformat(model.ends) - today).days
            if left in TOLD_DAYS:
                await self._tell(model, left, replaced.get(model.name))
        if self._seen is not None and any(replaced.values()):
            await self._config.refresh()
        self._seen = today

    async def _tell(self, model: ServedModel, left: int, replacement: str | None) -> None:
        """Once, whichever node comes first."""
        when = f"ends on {model.ends}" if left >= 0 else f"ended on {model.ends}"
        then = f"its requests go to '{replacement}' then" if replacement else "it has no `replacement`"
        names = ", ".join(sorted({f"{one.provider}/{one.model}" for one in model.deployments}))
        message = f"The model '{model.name}' ({names}) {when}, {left} days from now; {then}."
        if left < 0:
            then = f"its requests go to '{replacement}'" if replacement else "it has no `replacement`"
            message = f"The model '{model.name}' ({names}) {when}; {then}."
        if not await self._database.fetch(_TOLD, (KIND, message)):
            self._alerts.send({"kind": KIND, "message": message, "model": model.name})
