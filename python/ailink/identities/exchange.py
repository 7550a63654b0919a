"""Asks a token endpoint (RFC 6749, 5) by an HTTP form."""

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

from ailink.identities.token import IdentityError, Token

TIMEOUT_SECONDS = 10.0
MOST_BYTES = 1 << 20


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What was sent is a secret for one host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def asked(url: str, fields: dict[str, str], headers: dict[str, str], now: float) -> Token:
    """What the endpoint gives for a form; blocks. Raises IdentityError, with the endpoint's own words."""
    form = urlencode(fields).encode()
    request = urllib.request.Request(url, form, {"accept": "application/json", **headers})
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS) as answer:
            told = _read(answer)
    except urllib.error.HTTPError as error:
        raise IdentityError(f"{url} answered {error.code}{_reason(error)}") from error
    except (OSError, ValueError) as error:
        raise IdentityError(f"{url}: {getattr(error, 'reason', None) or type(error).__name__}") from error
    token, lasts = told.get("access_token"), told.get("expires_in")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise IdentityError(f"{url} gave no `access_token`")
    try:
        ends = None if lasts is None else now + float(lasts)
    except (TypeError, ValueError):
        raise IdentityError(f"{url}: `expires_in` is no number") from None
    return Token(value=token.encode(), expires=ends)


def _read(answer: Any) -> dict[str, Any]:
    """A JSON object. Raises ValueError."""
    told = json.loads(answer.read(MOST_BYTES))
    if not isinstance(told, dict):
        raise ValueError("no JSON object")
    return told


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        told = _read(error)
    except (OSError, ValueError):
        return ""
    # RFC 6749, 5.2; IBM has names of its own.
    words = (told.get(name) for name in ("error", "error_description", "errorCode", "errorMessage"))
    said = ": ".join(word[:200] for word in words if isinstance(word, str))
    return f": {said}" if said else ""
