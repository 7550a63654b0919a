"""Takes secrets out of text before it leaves the process: those that are known, in every form they are
written in, and what looks like one.

Every sink (log lines, error messages, traces) passes its text through one `Redactor`.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
# Shorter values are words; masking them would blank the log.
SHORTEST = 8

PATTERNS = re.compile(
    r"""
      \bsk-[A-Za-z0-9_\-]{8,}                                  # OpenAI, Anthropic and our own keys
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                            # AWS
    | \bAIza[A-Za-z0-9_\-]{30,}                                # Google
    | \b(?:gsk|xai|hf|ghp|gho|r8|pplx)[_-][A-Za-z0-9_\-]{16,}  # Groq, xAI, Hugging Face, GitHub, Replicate, …
    | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*  # JWT
    | (?P<name>
          \bbearer\s+
        | \b(?:x-api-key|api[-_]?key|authorization|password|secret|access[-_]?token)\b["']?\s*[:=]\s*["']?
          (?:bearer\s+|basic\s+)?                              # a name that announces a secret …
      )
      [^\s"',;}\]]+                                            # … and its value
    | (?P<user>://[^\s/:@]*:)[^\s/@]+(?=@)                     # the password in a URL
    """,
    re.IGNORECASE | re.VERBOSE,
)


class Redactor:
    """Masks secrets. `add` those that are known by value."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._heads: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Masks this value from now on, also where it is quoted, escaped or encoded."""
        if len(secret) >= SHORTEST:
            forms = {form.lower() for form in _forms(secret)}
            self._forms |= forms
            self._heads |= {form[:SHORTEST] for form in forms}
            self._pattern = None

    def clean(self, text: str) -> str:
        """The text with every secret masked."""
        # Nearly every text is clean, and looking up its stretches costs the same for any number of secrets.
        lowered = text.lower() if self._heads else ""
        stretches = (lowered[start : start + SHORTEST] for start in range(len(lowered) - SHORTEST + 1))
        if not self._heads.isdisjoint(stretches):
            text = self._known().sub(MASK, text)
        return PATTERNS.sub(_masked, text)

    def _known(self) -> re.Pattern[str]:
        if self._pattern is None:
            # Longest first: a form that contains another one must not leave a tail behind.
            forms = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE)
        return self._pattern


def _masked(match: re.Match[str]) -> str:
    return (match["name"] or match["user"] or "") + MASK


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode()
    yield secret
    yield secret[::-1]
    yield raw.hex()
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield html.escape(secret)
    yield json.dumps(secret)[1:-1]
    # Base64 of a longer text that contains the secret depends on where it starts: take the part that is the
    # same, for each offset.
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            encoded = encode(b"\0" * offset + raw).decode().rstrip("=")
            first = -(-offset * 8 // 6)
            last = (offset + len(raw)) * 8 // 6
            yield encoded[first:last]
