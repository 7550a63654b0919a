import base64
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.secrets.envelope import EnvelopeError, Kek, Place

KEK = Kek(bytes(range(32)))
OTHER = Kek(bytes(range(1, 33)))
PLACE = Place("", "credential", "cred_1", "sealed")

text = st.text(max_size=12)
places = st.builds(Place, text, text, text, text)


@settings(deadline=None)
@given(st.binary(max_size=300), places)
def test_what_was_sealed_opens(plaintext: bytes, place: Place) -> None:
    sealed = KEK.seal(plaintext, place)
    assert KEK.unseal(sealed, place) == plaintext
    assert plaintext not in base64.b64decode(sealed) or len(plaintext) < 4


@settings(deadline=None)
@given(st.tuples(places, places).filter(lambda pair: pair[0] != pair[1]))
def test_a_moved_envelope_does_not_open(pair: tuple[Place, Place]) -> None:
    sealed = KEK.seal(b"secret", pair[0])
    with pytest.raises(EnvelopeError):
        KEK.unseal(sealed, pair[1])


def test_no_two_places_are_written_alike() -> None:
    assert Place("a", "bc", "", "").encoded() != Place("ab", "c", "", "").encoded()


def test_every_flipped_bit_is_found() -> None:
    raw = bytearray(base64.b64decode(KEK.seal(b"secret", PLACE)))
    for position in range(len(raw)):
        for bit in range(8):
            raw[position] ^= 1 << bit
            with pytest.raises(EnvelopeError):
                KEK.unseal(base64.b64encode(raw).decode(), PLACE)
            raw[position] ^= 1 << bit
    assert KEK.unseal(base64.b64encode(raw).decode(), PLACE) == b"secret"


@settings(deadline=None)
@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda raw: base64.b64encode(raw).decode()))
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(EnvelopeError):
        KEK.unseal(garbage, PLACE)


def test_another_key_is_told_apart_from_damage() -> None:
    with pytest.raises(EnvelopeError, match="sealed under another encryption key"):
        OTHER.unseal(KEK.seal(b"secret", PLACE), PLACE)


def test_an_unknown_version_is_named() -> None:
    raw = bytearray(base64.b64decode(KEK.seal(b"secret", PLACE)))
    raw[0] = 2
    with pytest.raises(EnvelopeError, match="envelope version 2"):
        KEK.unseal(base64.b64encode(raw).decode(), PLACE)


def test_nothing_repeats() -> None:
    sealed = [base64.b64decode(KEK.seal(b"secret", PLACE)) for _ in range(2_000)]
    for start, end in ((9, 21), (69, 81)):  # the nonce of the wrapping, the nonce of the content
        assert len({raw[start:end] for raw in sealed}) == len(sealed)
    assert len({raw[21:69] for raw in sealed}) == len(sealed), "every envelope has a data key of its own"


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=100))
def test_rewrapped(plaintext: bytes) -> None:
    sealed = KEK.seal(plaintext, PLACE)
    again = KEK.rewrap(sealed, PLACE, OTHER)
    assert OTHER.unseal(again, PLACE) == plaintext
    assert base64.b64decode(again)[69:] == base64.b64decode(sealed)[69:], "the ciphertext stays"
    with pytest.raises(EnvelopeError):
        KEK.unseal(again, PLACE)


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Kek(b"short")


def test_derived_keys_are_independent_and_stable() -> None:
    assert KEK.derive("pepper") != KEK.derive("wrap") != KEK.derive("verifier")
    assert KEK.derive("pepper") == Kek(bytes(range(32))).derive("pepper")
    # RFC 5869 with SHA-256 and no salt.
    assert KEK.derive("pepper").hex() == hkdf(bytes(range(32)), b"ailink/v1/pepper").hex()


def hkdf(key: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")
