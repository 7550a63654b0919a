"""What the author of a guardrail writes: a class, or a function, that looks at texts."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Whose text it is, and where it stands."""

    side: Literal["input", "output"] = "input"
    """Of a request, or of an answer."""
    role: str = ""
    """Who says it: `system`, `user`, `assistant`, `tool` or what else the request names."""
    model: str = ""
    request_id: str = ""
    key: str = ""
    key_alias: str = ""
    user: str = ""
    team: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a guardrail says about a text; made by the functions below."""

    does: Literal["pass", "flag", "fail", "redact", "block"]
    reason: str = ""
    text: str | None = None

    @staticmethod
    def passed() -> Verdict:
        return Verdict(does="pass")

    @staticmethod
    def failed(reason: str = "") -> Verdict:
        """What is done about it stands in the configuration (`action`)."""
        return Verdict(does="fail", reason=reason)

    @staticmethod
    def block(reason: str = "") -> Verdict:
        """Refuses the request or the answer. The caller is told the reason."""
        return Verdict(does="block", reason=reason)

    @staticmethod
    def redact(text: str, reason: str = "") -> Verdict:
        """Puts another text in its place."""
        return Verdict(does="redact", text=text, reason=reason)

    @staticmethod
    def cut(
        text: str, spans: Iterable[tuple[int, int]], label: str = "REDACTED", reason: str = ""
    ) -> Verdict:
        """Puts `[label]` in the places of `spans`, counted in characters of `text`; none of them: it passes.

        Raises ValueError for a span that is none of this text.
        """
        left, pieces = 0, list[str]()
        for start, end in sorted(spans):
            if not 0 <= start <= end <= len(text):
                raise ValueError(f"({start}, {end}) is no span of a text of {len(text)} characters")
            if start >= left and start < end:
                pieces += [text[left:start], f"[{label}]"]
            left = max(left, end)
        if not pieces:
            return Verdict.passed()
        return Verdict.redact("".join([*pieces, text[left:]]), reason)

    @staticmethod
    def flag(reason: str = "") -> Verdict:
        """Lets it pass and tells."""
        return Verdict(does="flag", reason=reason)


Told = Verdict | None
"""None: it passes."""


class Guardrail:
    """A guardrail. Made once for each check that names it, with the check's `options`. Its calls run in one
    event loop in a thread of its own, so that nothing it does can hold up anything else.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def check(self, text: str, context: Context) -> Told | Awaitable[Told]:
        """Looks at one text; may be `async`, and is where it waits for anything. What it raises is an error
        of the check, about which `on_error` decides.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Called when the configuration does not name it any more, and at the end."""


class FunctionGuardrail(Guardrail):
    """One that is only a function of text and context."""

    def __init__(self, function: Callable[[str, Context], Told | Awaitable[Told]]) -> None:
        super().__init__({})
        self._function = function

    def check(self, text: str, context: Context) -> Told | Awaitable[Told]:
        return self._function(text, context)


async def judged(guardrail: Guardrail, texts: Sequence[str], contexts: Sequence[Context]) -> list[Verdict]:
    """A verdict for each text. Raises what the guardrail raises, and TypeError for what is no verdict."""
    verdicts = []
    for text, context in zip(texts, contexts, strict=True):
        told = guardrail.check(text, context)
        if inspect.isawaitable(told):
            told = await told
        if told is not None and not isinstance(told, Verdict):
            raise TypeError(f"`check` gave a {type(told).__name__}, which is no Verdict")
        verdicts.append(Verdict.passed() if told is None else told)
    return verdicts
