"""What a source makes, and how it fails."""

import msgspec


class IdentityError(Exception):
    """No token; the text says why and holds no secret."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """`value`: as the data plane takes it. `expires`: seconds since 1970; None: nobody said."""

    value: bytes
    expires: float | None = None

    def __repr__(self) -> str:
        return f"Token(expires={self.expires})"
