"""Alerts before models end, once each, and the day on which replacements take over."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ailink.admin.endings import Endings

DAY_US = 86_400 * 1_000_000


class Told:
    """An alert sender that notes, as its log does."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, str]] = []

    def send(self, alert):
        self.alerts.append(alert)

    async def fetch(self, _sql, params):
        return [1 for alert in self.alerts if (alert["kind"], alert["message"]) == params]


class View:
    def __init__(self, replacement):
        place = SimpleNamespace(provider="openai", model="gpt-4")
        self._models = [
            SimpleNamespace(name="old", ends="2026-12-01", deployments=[place]),
            SimpleNamespace(name="other", ends=None, deployments=[place]),
        ]
        self._file = SimpleNamespace(models=[SimpleNamespace(name="old", replacement=replacement)])
        self.refreshed = 0

    def models(self):
        return self._models

    def file(self):
        return self._file

    async def refresh(self):
        self.refreshed += 1


@pytest.mark.parametrize("replacement", [None, "new"])
def test_people_are_told_before_and_after(replacement):
    told, view = Told(), View(replacement)
    now = [int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() * 1e6)]

    async def days():
        endings = Endings(told, view, told, lambda: now[0])
        for _ in range(12):
            await endings.once()
            await endings.once()
            now[0] += DAY_US
        # Another node, on the last of these days.
        now[0] -= DAY_US
        await Endings(told, view, told, lambda: now[0]).once()

    asyncio.run(days())
    days_told = [alert["message"].split(",")[1].split()[0] for alert in told.alerts[:3]]
    assert days_told == ["7", "1", "0"]
    assert len(told.alerts) == 4
    assert "ended on 2026-12-01" in told.alerts[3]["message"]
    assert ("go to 'new'" in told.alerts[0]["message"]) is (replacement is not None)
    assert view.refreshed == (11 if replacement else 0)
