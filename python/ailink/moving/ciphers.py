"""What LiteLLM seals its secrets with: one SHA-256 of the salt key, and either NaCl's secret box (XSalsa20
and Poly1305) or AES-256-GCM behind the prefix `v2:gcm:`.

XSalsa20-Poly1305 is written out here (Bernstein, "Extending the Salsa20 nonce"; RFC 8439 for Poly1305): a
database has a few hundred such values, read once, and no dependency is worth that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

from ailink import _core

GCM = "v2:gcm:"
BOX_NONCE = 24
GCM_NONCE = 12
TAG = 16
BLOCK = 64
PRIME = (1 << 130) - 5
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
QUARTERS = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip


class NotOpenedError(Exception):
    """The value was not sealed with this salt key, or not at all."""


def unseal(sealed: str, salt_key: str) -> str:
    """The plaintext of one value. Raises `NotOpenedError`."""
    key = hashlib.sha256(salt_key.encode()).digest()
    try:
        if sealed.startswith(GCM):
            raw = _decoded(sealed.removeprefix(GCM))
            opened = _core.aead_open(key, raw[:GCM_NONCE], raw[GCM_NONCE:], b"")
        else:
            raw = _decoded(sealed)
            opened = _open_box(key, raw[:BOX_NONCE], raw[BOX_NONCE:])
        if opened is not None:
            return opened.decode()
    except (ValueError, binascii.Error):
        pass
    raise NotOpenedError


def _decoded(text: str) -> bytes:
    raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    if len(raw) < BOX_NONCE + TAG and len(raw) < GCM_NONCE + TAG:
        raise ValueError("too short")
    return raw


def _open_box(key: bytes, nonce: bytes, sealed: bytes) -> bytes | None:
    if len(nonce) < BOX_NONCE or len(sealed) < TAG:
        return None
    tag, text = sealed[:TAG], sealed[TAG:]
    state = _rounds(_state(key, nonce[:16]))
    inner = struct.pack("<8I", *(state[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))
    # The first 32 bytes of the stream are the authenticator's key.
    stream = b"".join(
        _salsa(inner, nonce[16:] + struct.pack("<Q", count)) for count in range((32 + len(text)) // BLOCK + 1)
    )
    if not hmac.compare_digest(_poly1305(stream[:32], text), tag):
        return None
    return bytes(one ^ other for one, other in zip(text, stream[32:], strict=False))


def _state(key: bytes, sixteen: bytes) -> list[int]:
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", sixteen)
    c = CONSTANTS
    return [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]


def _rounds(state: list[int]) -> list[int]:
    x = list(state)

    def turn(to: int, one: int, other: int, by: int) -> None:
        total = (x[one] + x[other]) & 0xFFFFFFFF
        x[to] ^= ((total << by) | (total >> (32 - by))) & 0xFFFFFFFF

    for _ in range(10):
        for a, b, c, d in QUARTERS:
            turn(b, a, d, 7)
            turn(c, b, a, 9)
            turn(d, c, b, 13)
            turn(a, d, c, 18)
    return x


def _salsa(key: bytes, sixteen: bytes) -> bytes:
    state = _state(key, sixteen)
    mixed = zip(state, _rounds(state), strict=True)
    return struct.pack("<16I", *((one + other) & 0xFFFFFFFF for one, other in mixed))


def _poly1305(key: bytes, text: bytes) -> bytes:
    r = int.from_bytes(key[:16], "little") & CLAMP
    total = 0
    for at in range(0, len(text), 16):
        total = (total + int.from_bytes(text[at : at + 16] + b"\x01", "little")) * r % PRIME
    return ((total + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")
