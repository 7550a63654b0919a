"""What a provider's row says about parameters and refusals, as the data plane takes it."""

import msgspec

from ailink.providers import Operation, ProviderRow
from ailink.providers.rules import of as rules_of
from ailink.snapshot import model as wire


def rules(row: ProviderRow) -> dict[Operation, list[wire.Rule]]:
    """The row's parameter rules by operation."""

    def text(value: object) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    tables = {operation: rules_of(row.parameters, operation) for operation in row.operations}
    return {
        operation: [
            wire.Rule(
                parameter=name,
                to=rule.to,
                reject=rule.reject,
                drop=rule.drop,
                min=text(rule.min),
                max=text(rule.max),
                default=text(rule.default),
                require=rule.require,
            )
            for name, rule in table.items()
        ]
        for operation, table in tables.items()
        if table
    }


def errors(row: ProviderRow) -> list[wire.ErrorRule]:
    """What the row says about refusals."""
    return [
        wire.ErrorRule(
            status=what if isinstance(what, int) else 0,
            words=what.lower() if isinstance(what, str) else "",
            of=name,
        )
        for name, told in row.errors.items()
        for what in told
    ]
