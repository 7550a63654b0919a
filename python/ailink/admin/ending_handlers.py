"""`/global/models/ending`: models whose provider ends them, and who still uses them."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError
from ailink.admin.served import ServedModel
from ailink.admin.services import Services
from ailink.ledger.money import Usd
from ailink.ledger.reader import LedgerError
from ailink.ledger.report import DAY_US, Line, Question, ask

LOOKED_BACK_DAYS = 30
USERS_MOST = 1_000


class EndingQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models that end within so many days, and those whose day has passed."""

    days: Annotated[int, Meta(ge=0, le=3_650)] = 90


class StillUsing(msgspec.Struct, frozen=True, kw_only=True):
    """One key that asked for the model in the last 30 days, dearest first."""

    key_id: str | None
    team_id: str | None
    user_id: str | None
    requests: int
    spend: Usd


class EndingModel(msgspec.Struct, frozen=True, kw_only=True):
    """`fallbacks`: what stands in for it; `replacement`: what is asked in its place once it has ended.
    `deployments`: `provider/model` each.
    """

    model: str
    ends: str
    days_left: int
    deployments: list[str]
    fallbacks: list[str]
    replacement: str | None
    used_by: list[StillUsing]


class EndingView(msgspec.Struct, frozen=True, kw_only=True):
    """Soonest first."""

    data: list[EndingModel]


async def ending(services: Services, call: Call[Nothing, EndingQuery]) -> EndingView:
    """What has to be replaced, and whom to tell."""
    today = datetime.now(UTC).date()
    dated = [
        (date.fromisoformat(model.ends), model)
        for model in services.config.models()
        if model.ends is not None
    ]
    replaced = {model.name: model.replacement for model in services.config.file().models}
    dated.sort(key=lambda pair: (pair[0], pair[1].name))
    return EndingView(
        data=[
            EndingModel(
                model=model.name,
                ends=day.isoformat(),
                days_left=(day - today).days,
                deployments=[f"{one.provider}/{one.model}" for one in model.deployments],
                fallbacks=list(model.fallbacks),
                replacement=replaced.get(model.name),
                used_by=await _users(services, model),
            )
            for day, model in dated
            if (day - today).days <= call.query.days
        ]
    )


async def _users(services: Services, model: ServedModel) -> list[StillUsing]:
    now_us = time.time_ns() // 1_000
    question = Question(
        start_us=now_us - LOOKED_BACK_DAYS * DAY_US,
        end_us=now_us,
        group_by=("key", "team", "user"),
        filters={"model": model.name},
    )
    try:
        report = await ask(services.ledger, question)
    except LedgerError as error:
        raise ApiError(503, str(error), type="api_error", code="ledger_unavailable") from error
    return [_using(line) for line in report.lines[:USERS_MOST]]


def _using(line: Line) -> StillUsing:
    key, team, user = (None if name is None else str(name) for name in line.names)
    return StillUsing(
        key_id=key,
        team_id=team,
        user_id=user,
        requests=line.amounts.requests,
        spend=Usd(line.amounts.cost_pico),
    )
