"""`python` among the checks of a guardrail: a class or a function of a file, which the shell runs."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ailink.config.guardrails import Guardrail
from ailink.guard.vendors import ParameterError, milliseconds

NAME: Final = "python"
_PARAMETERS: Final = ("file", "class", "function", "options", "timeout")


class PythonCheck(msgspec.Struct, frozen=True, kw_only=True):
    """`file`: as it is written, beside the configuration file unless it is absolute."""

    file: str
    name: str
    function: bool
    options: dict[str, Any]
    timeout_ms: int

    def call(self, url: str) -> dict[str, Any]:
        """The check as the data plane takes it: a call to the shell."""
        context = ("side", "model", "request_id", "key", "key_alias", "user", "team")
        body = {
            "texts": "<texts>",
            "roles": "<roles>",
            "context": {name: f"<{name}>" for name in context},
        }
        asked = {"url": url, "headers": {}, "body": body, "sign": None}
        return {
            "input": asked,
            "output": asked,
            "timeout_ms": self.timeout_ms,
            "private": True,
            "reading": {
                "expect": ["does", "passed"],
                "fail": [{"path": "passed", "is": False}],
                "does": "does",
                "reason": "reason",
                "texts": "texts[*]",
                "data": "data",
            },
        }


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A `python` check and where it stands. `rule`: the number of its guardrail, `at`: its own."""

    rule: int
    guardrail: str
    at: int
    check: PythonCheck


def parse(given: dict[str, Any]) -> PythonCheck:
    """Raises ParameterError."""
    for name in given:
        if name not in _PARAMETERS:
            raise ParameterError(f"unknown parameter `{name}`; there are {', '.join(_PARAMETERS)}")
    file, options = given.get("file"), given.get("options") or {}
    if not isinstance(file, str) or not file.endswith(".py"):
        raise ParameterError("`file`: expected the name of a file that ends with `.py`")
    kinds = [kind for kind in ("class", "function") if given.get(kind) is not None]
    if len(kinds) != 1:
        raise ParameterError("expected either `class` or `function`")
    name = given[kinds[0]]
    if not isinstance(name, str) or not name.isidentifier():
        raise ParameterError(f"`{kinds[0]}`: expected a name")
    if not isinstance(options, dict):
        raise ParameterError("`options`: expected a mapping")
    if options and kinds == ["function"]:
        raise ParameterError("`options` are for a `class`, which is made with them")
    timeout = milliseconds(given.get("timeout", "2s"))
    return PythonCheck(
        file=file, name=name, function=kinds == ["function"], options=options, timeout_ms=timeout
    )


def found(rules: Iterable[Guardrail]) -> Iterator[Place]:
    """All of them. What cannot be read is left out: the checks of the configuration tell of it."""
    for number, rule in enumerate(rules):
        for at, tree in enumerate(rule.checks):
            given = _given(str(tree))
            if given is None:
                continue
            try:
                yield Place(rule=number, guardrail=rule.name, at=at, check=parse(given))
            except ParameterError:
                continue


def _given(tree: str) -> dict[str, Any] | None:
    """The parameters of a `python` check; None for another."""
    try:
        told = json.loads(tree)
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    given = told.get("parameters") if told.get("id") == NAME else told.get(NAME)
    return given if isinstance(given, dict) else None


def files(rules: Iterable[Guardrail], directory: Path) -> list[Path]:
    """The files that guardrails are in."""
    names = dict.fromkeys(place.check.file for place in found(rules))
    return [located(name, directory) for name in names]


def located(file: str, directory: Path) -> Path:
    """Where a file is that a configuration in `directory` names."""
    return directory / Path(file).expanduser()


def fault(check: PythonCheck, directory: Path) -> str | None:
    """What is wrong with the file, as far as it can be seen without running it."""
    file = located(check.file, directory)
    try:
        ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        return f"cannot read {file}: {error.strerror}"
    except SyntaxError as error:
        return f"{file}, line {error.lineno}: {error.msg}"
    except ValueError as error:
        return f"{file}: {error}"
    return None


def digest(file: Path) -> str:
    """Of its contents; empty when it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
