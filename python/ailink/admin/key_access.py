"""What a key may reach: LiteLLM's `models`, `allowed_routes` and `allowed_ips`, checked and put in the data
plane's terms.

A path stands for its operation: `/v1/chat/completions` allows that operation under each of its aliases.
Listing models is always allowed, because the list holds only what the key may use.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence

from ailink.admin.errors import bad_request
from ailink.admin.plane import Endpoint

ALL_MODEL_ROUTES = "llm_api_routes"
ALL_MODELS = "all-proxy-models"
NO_MODELS = "no-default-models"
# Names of LiteLLM that mean the models of a team, and there are no teams.
TEAM_MODELS = frozenset({"all-team-models"})
# Paths of the shell that a key may be allowed by name.
SHELL_ROUTES = frozenset({"/key/aws", "/key/info", "/model/info", "/v1/model/info", "/metrics"})
# What the endpoint table calls paths that no key can be kept from.
LISTING, HEALTH = "models", "health"


class RouteTable:
    """Paths a key can be limited to, and the operation behind each."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._operations: Mapping[str, str | None] = {
            endpoint.pattern: None if endpoint.operation == LISTING else endpoint.operation
            for endpoint in endpoints
            if endpoint.owner == "plane" and endpoint.operation != HEALTH
        }

    def check(self, routes: Sequence[str]) -> None:
        """Raises `ApiError` (400) naming the first entry that cannot be enforced."""
        for position, route in enumerate(routes):
            if route != ALL_MODEL_ROUTES and route not in SHELL_ROUTES and route not in self._operations:
                raise bad_request(
                    f"{route!r} cannot be enforced: name a path such as /v1/chat/completions, "
                    f"one of {', '.join(sorted(SHELL_ROUTES))}, or {ALL_MODEL_ROUTES}",
                    param=f"allowed_routes[{position}]",
                )

    def operations(self, routes: Sequence[str]) -> list[str] | None:
        """The operations these routes allow; None for all."""
        if not routes or ALL_MODEL_ROUTES in routes:
            return None
        return sorted(
            {operation for route in routes if (operation := self._operations.get(route)) is not None}
        )


def check_models(models: Sequence[str]) -> None:
    """Raises `ApiError` (400) for names that cannot be enforced."""
    for position, model in enumerate(models):
        if model in TEAM_MODELS:
            raise bad_request(
                f"{model!r} needs teams, which this version does not have", param=f"models[{position}]"
            )
        if model in (ALL_MODELS, NO_MODELS) and len(models) > 1:
            raise bad_request(f"{model!r} must stand alone", param=f"models[{position}]")


def allowed_models(models: Sequence[str]) -> list[str] | None:
    """Names and patterns; None for all, empty for none."""
    if not models or ALL_MODELS in models:
        return None
    return [] if NO_MODELS in models else list(models)


def may_use(allowed: Sequence[str] | None, model: str) -> bool:
    """Whether `allowed_models` covers this model:

    `*` stands for any run of characters, all else for itself.
    """
    if allowed is None:
        return True
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), model, re.DOTALL) for pattern in allowed
    )


def check_networks(networks: Sequence[str]) -> None:
    """Raises `ApiError` (400) naming the first entry that is no address or network."""
    for position, network in enumerate(networks):
        try:
            if "%" in network:
                raise ValueError("an address with a zone means nothing on another machine")
            ipaddress.ip_network(network)
        except ValueError as error:
            raise bad_request(f"{network!r}: {error}", param=f"allowed_ips[{position}]") from error


def allowed_networks(networks: Sequence[str]) -> list[str] | None:
    """Networks with their prefix lengths; None for all."""
    return [str(ipaddress.ip_network(network)) for network in networks] or None
