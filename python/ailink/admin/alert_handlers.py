"""`/v1/alerts`: what was told, and a way to try a channel."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import not_found
from ailink.admin.services import Services
from ailink.admin.setting_fields import Name, Request
from ailink.observe.alerts import Delivery


class DeliveriesQuery(Request, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    """The latest deliveries, newest first. `status`: waiting, sent or failed."""

    channels: list[str]
    deliveries: list[Delivery]


class TestAlert(Request, frozen=True, kw_only=True):
    channel: Name


async def deliveries(services: Services, call: Call[Nothing, DeliveriesQuery]) -> Deliveries:
    """What was told to whom."""
    found = await services.alerts.deliveries(call.query.limit)
    return Deliveries(channels=services.alerts.channels, deliveries=found)


async def test(services: Services, call: Call[TestAlert, Nothing]) -> Delivery:
    """Sends a test; one attempt, and the answer tells what came of it."""
    delivery = await services.alerts.test(call.body.channel)
    if delivery is None:
        raise not_found(f"there is no channel `{call.body.channel}` under `alerts`", param="channel")
    return delivery
