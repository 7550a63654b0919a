"""Secrets that guard nothing, and keys that are none."""

from base64 import b64decode
from typing import Final

from ailink.config.secret import Secret

MIN_SECRET: Final = 16
_KNOWN_WEAK: Final = frozenset(
    {"sk-1234", "sk-12345", "sk-123456", "sk-master", "sk-master-key", "sk-admin", "sk-test", "sk-change-me"}
    | {"changeme", "change-me", "password", "master-key", "your-master-key", "sk-your-master-key", "secret"}
    | {
        "sk-1234567890abcdef",
        "sk-0123456789abcdef",
        "1234567890123456",
        "sk-1234567890123456",
        "changemechangeme",
    }
    | {"your-secret-key-here", "sk-your-secret-key", "my-super-secret-key", "sk-my-super-secret-key"}
)


def weakness(secret: Secret) -> str | None:
    """Why a secret is too weak to guard anything, or None. Never quotes it."""
    value = secret.reveal()
    if value.lower() in _KNOWN_WEAK:
        return "is a well-known example; anybody would try it"
    if len(value) < MIN_SECRET:
        return f"has {len(value)} characters; at least {MIN_SECRET} are needed (`openssl rand -hex 24`)"
    if len(set(value.removeprefix("sk-"))) < 6:
        return "repeats a few characters; choose a random one (`openssl rand -hex 24`)"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "must be printable ASCII without blanks, because it travels in a header"
    return None


def is_key(text: str) -> bool:
    """32 bytes as hexadecimal or base64 of either alphabet, padded or not, and not all alike."""
    text = text.strip()
    try:
        if len(text) == 64:
            raw = bytes.fromhex(text)
        else:
            text = text.rstrip("=").replace("-", "+").replace("_", "/")
            raw = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return False
    return len(raw) == 32 and len(set(raw)) >= 8
