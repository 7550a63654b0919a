"""Several nodes as one gateway: shares of limits leased through Redis, health checks made by one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from ailink.config.schema import Config


def share_limits(config: Config, plane: Any, ends: AsyncExitStack) -> None:
    """Begins to share limits with other nodes, if there are any, until `ends` is closed.

    Raises ValueError for an address that is none, or when the client is not installed.
    """
    if config.redis_url is None:
        return
    try:
        # An extra, and 60 ms of start that one node does not need.
        leases = importlib.import_module("ailink.coordination.leases")
    except ModuleNotFoundError as error:
        raise ValueError(f"redis_url: Redis needs {error.name}: pip install 'ailink[redis]'") from None
    options = leases.Options(
        url=config.redis_url.reveal(), node=str(config.server.node), ttl_ms=int(config.coordination.lease)
    )
    sharing = leases.Leases(plane, options)
    sharing.start()
    ends.push_async_callback(sharing.stop)


def share_checks(config: Config, plane: Any, wanted: Callable[[], bool], ends: AsyncExitStack) -> None:
    """Lets one of several nodes check the health of deployments, until `ends` closes. Behind `share_limits`,
    which finds that the client is installed.
    """
    if config.redis_url is None:
        return
    checks = importlib.import_module("ailink.coordination.checks")
    sharing = checks.SharedChecks(plane, config.redis_url.reveal(), wanted)
    sharing.start()
    ends.push_async_callback(sharing.stop)


def share_routing(config: Config, plane: Any, ends: AsyncExitStack) -> None:
    """Lets several nodes know of one another's deployments, until `ends` closes. Behind `share_limits`."""
    if config.redis_url is None:
        return
    routing = importlib.import_module("ailink.coordination.routing")
    sharing = routing.SharedRouting(plane, config.redis_url.reveal())
    sharing.start()
    ends.push_async_callback(sharing.stop)
