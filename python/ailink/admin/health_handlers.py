"""`/health/readiness/details`: what an operator looks at first. Liveness and readiness themselves are
answered in Rust.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.services import Services
from ailink.store.database import DatabaseError


class ReadinessView(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["healthy", "degraded"]
    db: Literal["connected", "disconnected"]
    version: str
    uptime_seconds: int
    models: int
    config: dict[str, Any]
    identities: dict[str, Any] = {}
    """Identities at clouds, by credential id: whether their tokens are fresh."""


async def readiness_details(services: Services, call: Call[Nothing, Nothing]) -> ReadinessView:
    """`degraded`: requests are served, but keys cannot be changed, or the last change of the configuration
    was not taken.
    """
    try:
        await services.database.fetchrow("SELECT 1 AS one")
        connected = True
    except DatabaseError:
        connected = False
    config = dict(services.config.status())
    identities = msgspec.to_builtins(dict(services.identities()))
    fresh = all(identity["state"] == "fresh" for identity in identities.values())
    return ReadinessView(
        status="healthy" if connected and fresh and not config.get("errors") else "degraded",
        db="connected" if connected else "disconnected",
        version=services.version,
        uptime_seconds=(services.keys.now_us() - services.started_us) // 1_000_000,
        models=len(services.config.models()),
        config=config,
        identities=identities,
    )
