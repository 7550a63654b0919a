"""From what a caller may name a key by to the digests it is stored under."""

from __future__ import annotations

import re
import secrets

from ailink import _core

KEY_PREFIX = "sk-"
KEY_BYTES = 32
SHOWN_CHARACTERS = 4
SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}")


class KeyDigests:
    """Digests under one pepper (32 bytes): HMAC-SHA-256(pepper, SHA-256(key))."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def of_key(self, key: str) -> bytes:
        return _core.key_digest(self._pepper, key)

    def aws_pair(self, digest: str) -> tuple[str, str]:
        """Access key id and secret access key beside the key of this digest; they end with it."""
        return _core.aws_key_pair(self._pepper, bytes.fromhex(digest))

    def candidates(self, name: str) -> tuple[str, ...]:
        """Hexadecimal digests that `name` may stand for: a key, a token (the digest itself), or the SHA-256
        of a key.
        """
        if SHA256_HEX.fullmatch(name):
            return name.lower(), _core.token_digest(self._pepper, name.lower()).hex()
        return (self.of_key(name).hex(),)


def new_key() -> str:
    """A fresh virtual key: 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def display(key: str) -> str:
    """What may be shown of a key."""
    return f"{KEY_PREFIX}...{key[-SHOWN_CHARACTERS:]}"
