"""How a service tier is asked for: the member of a request that names it, by operation."""

from typing import Final

from ailink.providers.registry import ProviderRow
from ailink.providers.rules import of as rules_of
from ailink.providers.vocabulary import Operation

USUAL: Final = "default"
"""The tier of deployments without one of their own."""
_MEMBERS: Final[dict[Operation, str]] = {
    "chat": "service_tier",
    "completions": "service_tier",
    "responses": "service_tier",
    "messages": "service_tier",
    "converse": "serviceTier",
    "converse_stream": "serviceTier",
}


def members(row: ProviderRow, tier: str | None) -> dict[Operation, tuple[str, object]]:
    """Name and value by operation, of those with which the provider can be asked for it."""
    found: dict[Operation, tuple[str, object]] = {}
    for operation in row.operations if tier is not None else ():
        name = _MEMBERS.get(operation)
        rule = None if name is None else rules_of(row.parameters, operation).get(name)
        if name is not None and (rule is None or (rule.reject is None and not rule.drop)):
            found[operation] = (name, tier if name == "service_tier" else {"type": tier})
    return found
