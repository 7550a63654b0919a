"""What a key may reach: LiteLLM's `models`, `allowed_routes` and `allowed_ips`, checked and put in the data
plane's terms.

A path stands for its operation: `/v1/chat/completions` allows that operation under each of its aliases.
Listing models is always allowed, because the list holds only what the key may use.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ailink.admin.errors import bad_request
from ailink.admin.plane import Endpoint

ALL_MODEL_ROUTES = "llm_api_routes"
ALL_MODELS = "all-proxy-models"
NO_MODELS = "no-default-models"
# LiteLLM's name for whatever the team allows, which holds anyway.
TEAM_MODELS = frozenset({"all-team-models"})
# Groups of the shell's paths, as LiteLLM names them.
MANAGEMENT_ROUTES, INFO_ROUTES = "management_routes", "info_routes"
ROUTE_GROUPS = (ALL_MODEL_ROUTES, MANAGEMENT_ROUTES, INFO_ROUTES)
REST = "/{rest}"
HEALTH = "health"
# What the endpoint table calls paths that are no operations, and the operation a key needs for them, if any.
NO_OPERATIONS: Final[Mapping[str, str | None]] = {
    "models": None,
    "ended": None,
    "approvals": None,
    "stored": "responses",
    "turns": "responses",
}
# Providers' own paths, which the table has no rows for.
OWN_PATHS = "pass_through"


class RouteTable:
    """Paths a key can be limited to, and the operation behind each."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        rows = list(endpoints)
        self._operations: Mapping[str, str | None] = {
            endpoint.pattern: NO_OPERATIONS.get(endpoint.operation, endpoint.operation)
            for endpoint in rows
            if endpoint.owner == "plane" and endpoint.operation != HEALTH
        } | {OWN_PATHS: OWN_PATHS}
        shell = {endpoint.pattern for endpoint in rows if endpoint.owner == "shell"}
        self._shell = frozenset(pattern for pattern in shell if not pattern.endswith(REST))
        self._shell_below = tuple(
            pattern.removesuffix("{rest}") for pattern in shell if pattern.endswith(REST)
        )

    def check(self, routes: Sequence[str]) -> None:
        """Raises `ApiError` (400) naming the first entry that cannot be enforced."""
        for position, route in enumerate(routes):
            known = route in ROUTE_GROUPS or route in self._shell or route in self._operations
            if not known and not route.startswith(self._shell_below):
                raise bad_request(
                    f"{route!r} cannot be enforced: name a path such as /v1/chat/completions or /key/info, "
                    f"or one of {', '.join(ROUTE_GROUPS)}",
                    param=f"allowed_routes[{position}]",
                )

    def operations(self, routes: Sequence[str]) -> list[str] | None:
        """The operations these routes allow; None for all."""
        if not routes or ALL_MODEL_ROUTES in routes:
            return None
        return sorted(
            {operation for route in routes if (operation := self._operations.get(route)) is not None}
        )


def may_call(routes: Sequence[str], method: str, path: str) -> bool:
    """Whether `allowed_routes` lets a key call this path of the shell; empty allows all."""
    return (
        not routes
        or path in routes
        or MANAGEMENT_ROUTES in routes
        or (INFO_ROUTES in routes and method == "GET")
    )


def check_models(models: Sequence[str]) -> None:
    """Raises `ApiError` (400) for names that cannot be enforced."""
    for position, model in enumerate(models):
        if model in (ALL_MODELS, NO_MODELS, *TEAM_MODELS) and len(models) > 1:
            raise bad_request(f"{model!r} must stand alone", param=f"models[{position}]")


def allowed_models(models: Sequence[str]) -> list[str] | None:
    """Names and patterns; None for all, empty for none."""
    if not models or ALL_MODELS in models:
        return None
    return [] if NO_MODELS in models else list(models)


def meet(first: list[str] | None, second: list[str] | None) -> list[str] | None:
    """What both lists allow. Two patterns of which neither holds the other meet only where a prefix meets a
    suffix; anything beyond that is left out, so that the result never allows more than each of them.
    """
    if first is None or second is None:
        return second if first is None else first
    met: list[str] = []
    for one in first:
        for other in second:
            if may_use([other], one):
                met.append(one)
            elif may_use([one], other):
                met.append(other)
            elif one.count("*") == 1 and other.count("*") == 1:
                prefix, suffix = sorted((one, other), key=lambda pattern: pattern.endswith("*"), reverse=True)
                if prefix.endswith("*") and suffix.startswith("*"):
                    met.append(prefix + suffix[1:])
    return list(dict.fromkeys(met))


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
