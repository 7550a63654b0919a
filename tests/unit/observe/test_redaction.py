import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.observe.redaction import MASK, Redactor

SECRET = "canary/+\"ß<&'key=1234567890"

ENCODINGS = {
    "plain": lambda secret: secret,
    "json": lambda secret: json.dumps({"k": secret}),
    "repr": lambda secret: repr(secret.encode()).replace("\\'", "'"),
    "url": lambda secret: "https://h/?q=" + quote(secret, safe=""),
    "form": lambda secret: "q=" + quote_plus(secret),
    "html": lambda secret: f"<p>{html.escape(secret)}</p>",
    "hex": lambda secret: secret.encode().hex(),
    "HEX": lambda secret: secret.encode().hex().upper(),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 within": lambda secret: base64.b64encode(b"user:" + secret.encode() + b"!").decode(),
    "base64url": lambda secret: base64.urlsafe_b64encode(b"x" + secret.encode()).decode(),
    "reversed": lambda secret: secret[::-1],
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_known_secret_is_masked_in_every_encoding(encoding: str) -> None:
    secret = SECRET if encoding != "repr" else "canary-key-1234567890"
    redactor = Redactor()
    redactor.add(secret)
    text = f"before {ENCODINGS[encoding](secret)} after"
    cleaned = redactor.clean(text)
    assert MASK in cleaned
    for piece in (
        "canary",
        "1234567890",
        base64.b64encode(b"canary").decode()[:6],
        b"canary".hex(),
        "yranac",
    ):
        assert piece not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


@settings(deadline=None)
@given(
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60),
    st.integers(0, 5),
)
def test_base64_of_anything_around_the_secret(secret: str, before: int) -> None:
    redactor = Redactor()
    redactor.add(secret)
    whole = base64.b64encode(b"a" * before + secret.encode() + b"zz").decode()
    assert MASK in redactor.clean(whole)


@pytest.mark.parametrize(
    "text",
    [
        "key sk-abcdefgh12345678 used",
        "sk-ant-api03-AbCd_ef-gh",
        "Authorization: Bearer abcdef",
        '{"authorization": "Basic dXNlcjpwYXNz"}',
        "x-api-key: whatever",
        "api_key='topsecret'",
        "password=hunter2&x=1",
        "postgresql://user:hunter2@host/db",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "ghp_abcdefghijklmnopqrstuvwxyz",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    cleaned = Redactor().clean(text)
    assert MASK in cleaned
    for piece in (
        "abcdef",
        "hunter2",
        "topsecret",
        "whatever",
        "dXNlcjpwYXNz",
        "api03",
        "EXAMPLE",
        "SyA1234",
        "eyJ",
    ):
        assert piece not in cleaned


@pytest.mark.parametrize(
    "text",
    ["POST /v1/chat/completions 200 in 3 ms", "key sk-...abcd blocked", "model gpt-4o-mini", "https://api.openai.com/v1",
     "no secret in force", "the api key is missing"],
)  # fmt: skip
def test_what_does_not_is_left_alone(text: str) -> None:
    assert Redactor().clean(text) == text


def test_short_values_are_not_secrets() -> None:
    redactor = Redactor()
    redactor.add("none")
    assert redactor.clean("none at all") == "none at all"
