"""Envelope encryption of one value in one column of one row: AES-256-GCM under a key of its own, which is
wrapped by the KEK.

Layout of an envelope, base64 in the database:

    version 1 | id of the KEK 8 | nonce 12, wrapped data key 32 + tag 16 | nonce 12, ciphertext, tag 16

The additional data names the place (tenant, table, row, column), so an envelope moved to another place does
not open. Rotation re-wraps the data key and leaves the ciphertext alone. Nonces are random: a data key seals
once, and a KEK may wrap 2³² times (NIST SP 800-38D, 8.3) before a repeated nonce becomes worth a thought.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from typing import NamedTuple

from ailink._core import aead_open, aead_seal

VERSION = 1
KEY_BYTES = 32
KEY_ID_BYTES = 8
NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
HEADER_BYTES = 1 + KEY_ID_BYTES


class EnvelopeError(Exception):
    """The envelope is damaged, was moved, or was sealed under another key. Never carries the content."""


class Place(NamedTuple):
    """Where a sealed value stands. `tenant` is the organization's id, empty without one."""

    tenant: str
    table: str
    row: str
    column: str

    def encoded(self) -> bytes:
        """Unambiguous bytes: every part with its length before it."""
        parts = [part.encode() for part in self]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class Kek:
    """A key-encryption key.

    The raw key is used for derivations only; wrapping has a derived key of its own.
    """

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise ValueError(f"an encryption key has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw = raw
        self._wrapping = self.derive("wrap")
        self.id = self.derive("id", KEY_ID_BYTES)

    def derive(self, purpose: str, length: int = KEY_BYTES) -> bytes:
        """HKDF-SHA-256 of the key (RFC 5869, no salt): independent bytes for each purpose.

        At most 32 bytes, so that the expansion is its first block.
        """
        if not 0 < length <= KEY_BYTES:
            raise ValueError(f"1 to {KEY_BYTES} bytes can be derived, not {length}")
        pseudorandom = hmac.digest(bytes(KEY_BYTES), self._raw, "sha256")
        return hmac.digest(pseudorandom, f"ailink/v1/{purpose}".encode() + b"\x01", "sha256")[:length]

    def seal(self, plaintext: bytes, place: Place) -> str:
        """A fresh envelope around `plaintext`, for this place only."""
        data_key = os.urandom(KEY_BYTES)
        header = bytes([VERSION]) + self.id
        return _text(
            header + self._wrap(data_key, place) + _encrypt(data_key, plaintext, _content_data(place))
        )

    def unseal(self, sealed: str, place: Place) -> bytes:
        """The plaintext. Raises `EnvelopeError`."""
        data_key, content = self._opened(sealed, place)
        return _decrypt(data_key, content, _content_data(place))

    def rewrap(self, sealed: str, place: Place, successor: Kek) -> str:
        """The same ciphertext with its data key wrapped by `successor`. Raises `EnvelopeError`."""
        data_key, content = self._opened(sealed, place)
        return _text(bytes([VERSION]) + successor.id + successor._wrap(data_key, place) + content)

    def _wrap(self, data_key: bytes, place: Place) -> bytes:
        return _encrypt(self._wrapping, data_key, self._wrap_data(place))

    def _opened(self, sealed: str, place: Place) -> tuple[bytes, bytes]:
        raw = _bytes(sealed)
        if raw[0] != VERSION:
            raise EnvelopeError(f"this version of AILink does not know envelope version {raw[0]}")
        if raw[1:HEADER_BYTES] != self.id:
            raise EnvelopeError("the value was sealed under another encryption key")
        wrapped = raw[HEADER_BYTES : HEADER_BYTES + WRAPPED_BYTES]
        return _decrypt(self._wrapping, wrapped, self._wrap_data(place)), raw[HEADER_BYTES + WRAPPED_BYTES :]

    def _wrap_data(self, place: Place) -> bytes:
        return bytes([VERSION]) + b"key" + self.id + place.encoded()


def _content_data(place: Place) -> bytes:
    # Without the KEK's id, or rotation would have to encrypt the content again.
    return bytes([VERSION]) + b"content" + place.encoded()


def _encrypt(key: bytes, plaintext: bytes, data: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + aead_seal(key, nonce, plaintext, data)


def _decrypt(key: bytes, raw: bytes, data: bytes) -> bytes:
    plaintext = aead_open(key, raw[:NONCE_BYTES], raw[NONCE_BYTES:], data)
    if plaintext is None:
        raise EnvelopeError("the sealed value is damaged or stands in the wrong place")
    return plaintext


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(sealed: str) -> bytes:
    try:
        raw = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeError("the sealed value is not base64") from error
    if len(raw) < HEADER_BYTES + WRAPPED_BYTES + NONCE_BYTES + TAG_BYTES:
        raise EnvelopeError("the sealed value is too short")
    return raw
