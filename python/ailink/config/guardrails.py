"""What `ailink.yaml` may say about guardrails: what must not pass, and what happens to it."""

from typing import Annotated, Literal

from msgspec import Meta

from ailink.config.secret import Secret
from ailink.config.section import Strict
from ailink.config.units import Duration, Tree

_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")]


class Notice(Strict, frozen=True, kw_only=True):
    """Who is told what a guardrail found, by signed messages."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    secret: Secret | None = None
    """Signs them."""


class Guardrail(Strict, frozen=True, kw_only=True):
    """One rule. What it looks for: all of `presets`, `words`, `patterns` and `checks` together."""

    name: _Name
    presets: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """Words and phrases in any case, not as parts of longer words."""
    patterns: tuple[str, ...] = ()
    """Regular expressions without look-around and back-references."""
    ignore_case: bool = False
    """For `patterns`."""
    label: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_ -]{0,63}$")] = "REDACTED"
    """What stands in the place of a redacted word or pattern; presets have labels of their own."""
    checks: tuple[Tree, ...] = ()
    """Each `{NAME: parameters}` or `{id: NAME, parameters: …}`; all of them must pass."""
    messages: Literal["all", "last", "user"] = "all"
    """Which messages of a request checks look at."""
    run: Literal["before", "during", "async"] = "before"
    """Checks hold the request up, run beside the provider, or behind and without effect."""
    sequential: bool = False
    """Each check sees what the one before it changed."""
    on_success: Tree | None = None
    """`{feedback: …}`, told with the results of checks."""
    on_fail: Tree | None = None
    scan: tuple[Literal["input", "output"], ...] = ("input",)
    action: Literal["block", "fallback", "retry", "redact", "tokenize", "mask", "flag", "webhook", "log"] = (
        "block"
    )
    """`fallback`, `retry`: another model or answer instead. `tokenize`: values come back with the answer.
    `webhook`: `webhook` is told, and nothing else happens.
    """
    webhook: Notice | None = None
    """Told what was found, whatever the action; never the text."""
    vault: Literal["request", "tenant"] = "request"
    """What `tokenize` made is known to the request, or to its tenant, whose values have the same tokens."""
    vault_ttl: Duration = Duration.parse("30d")
    """How long a tenant's value is kept after it was last seen."""
    mode: Literal["enforce", "shadow"] = "enforce"
    """`shadow`: evaluated and recorded, without effect."""
    on_error: Literal["fail", "skip"] = "fail"
    """What cannot be made is refused, or passes."""
    unscannable: Literal["whole", "block", "allow"] = "whole"
    """Images, sound, files, token numbers, sessions: refused without anything else, always, or never."""
    stream: Literal["window", "hold", "audit"] = "window"
    """Streams wait until nothing in them can be the start of a match, to their end, or not at all."""
    normalise: tuple[Literal["spacing", "base64", "hex"], ...] = ()
    """Besides what is always resolved: letters that stand apart, base64 and hexadecimal digits."""


class Defaults(Strict, frozen=True, kw_only=True):
    """What holds for every model that does not say otherwise."""

    guardrails: tuple[_Name, ...] = ()
    policies: tuple[_Name, ...] = ()
    """For every request."""
