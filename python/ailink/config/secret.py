"""A value that must not be shown: no repr, no str, compared in constant time."""

import hmac
from typing import Final

NO_CREDENTIAL: Final = "none"
"""`api_key: none` says that a server takes no key."""


class Secret:
    """Holds a secret; `reveal()` is the only way to read it, so that uses can be searched for."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def parse(cls, value: object) -> "Secret":
        """Text → Secret, without blanks around it: files and shells leave line ends. Raises ValueError."""
        if not isinstance(value, str):
            raise ValueError("expected text; put it in quotes")
        return cls(value.strip())
