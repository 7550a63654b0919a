"""`${VAR}` and `${VAR:-default}` in values; `$${` stands for a literal `${`."""

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


class ExpansionError(ValueError):
    """A reference that cannot be filled in. The text names variables, never values."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """`text` with its references filled in from `env`. As in a shell, `:-` also serves for an empty variable.

    Raises ExpansionError on a variable that is not set and has no default, and on a malformed reference.
    """
    if "${" not in text:
        return text
    return _REFERENCE.sub(lambda found: _value(found, env), text)


def escape(text: str) -> str:
    """The text that `expand` turns back into `text`."""
    return text.replace("${", "$${")


def _value(found: re.Match[str], env: Mapping[str, str]) -> str:
    if found[0] == "$${":
        return "${"
    name, default = found[1], found[2]
    if name is None:
        raise ExpansionError(
            "`${` without a variable: write ${NAME}, ${NAME:-default}, or $${ for a literal ${"
        )
    value = env.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise ExpansionError(f"environment variable {name} is not set (${{{name}:-default}} gives a default)")
    return value
