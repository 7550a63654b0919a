"""LiteLLM's two ciphers."""

import base64
import hashlib

import pytest

from ailink import _core
from ailink.moving.ciphers import GCM, NotOpenedError, unseal

# Made with PyNaCl 1.6.2, the nonces of one letter each.
SHORT = "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5u_msZOqxEU52IdEL3g6nG6I0nOQ_HvnqKzcGAZxYcmEBX0g=="
LONG = (
    "bW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tvvysEBqOyEwGodl61NyAeDzxB4pA5cBHgU0xQ0JUIfK77zAmaRnrTk2KJqkF7tvOijI6i1hc"
    "JcZ52Gr57aYl4j47efGRTCxCvHGaSWwUslBJIIwU7AvOJCmhcLHOjAt5i8WiDNeXJ_8XY1SC-Vj4jhnHrHfb2QYLGSJe7ePnPncxBfcT"
    "8RrTyw=="
)


def gcm(text: str, salt: str) -> str:
    nonce = b"n" * 12
    sealed = _core.aead_seal(hashlib.sha256(salt.encode()).digest(), nonce, text.encode(), b"")
    return GCM + base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")


def test_secret_boxes_open() -> None:
    assert unseal(SHORT, "sk-salt") == "sk-provider-secret"
    assert unseal(LONG, "sk-salt") == "https://example.com/" + "a" * 100


def test_gcm_opens() -> None:
    assert unseal(gcm("sk-new", "sk-salt"), "sk-salt") == "sk-new"


@pytest.mark.parametrize(
    "sealed",
    [
        SHORT[:-6] + "AAAA==",
        "",
        "plain text",
        "gpt-4o",
        GCM,
        GCM + "AAAA",
        base64.b64encode(b"x" * 40).decode(),
    ],
)
def test_what_is_not_sealed_does_not_open(sealed: str) -> None:
    with pytest.raises(NotOpenedError):
        unseal(sealed, "sk-salt")


def test_another_salt_does_not_open() -> None:
    for sealed in (SHORT, gcm("x", "sk-salt")):
        with pytest.raises(NotOpenedError):
            unseal(sealed, "sk-other")
