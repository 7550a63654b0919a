"""What is wrong with a configuration, and where: the one shape every check reports in.

A problem never quotes the value of a secret or of an expanded environment variable, because problems are
logged and shown by `/health/ready`.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

import msgspec

Key = str | int
"""One step of a path: a mapping's key or a list's index."""

Path = tuple[Key, ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A position in a file; line and column count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. An `error` stops the load; a `note` is listed and the load goes on."""

    place: Place
    path: str
    message: str
    severity: Literal["error", "note"] = "error"

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.place}: {path}{self.message}"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds every finding, errors and notes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def render_path(path: Iterable[Key]) -> str:
    """`("models", 0, "weight")` → `models[0].weight`; a key that is no plain word is quoted in brackets."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif key.replace("_", "a").replace("-", "a").isalnum():
            text += f".{key}" if text else key
        else:
            text += f'["{key}"]'
    return text


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was probably meant to be, or None."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The hint to append to a message about an unknown name; empty when nothing is near."""
    found = nearest(name, candidates)
    return f"; did you mean `{found}`?" if found else ""
