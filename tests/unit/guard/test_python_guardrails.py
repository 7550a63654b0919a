"""Guardrails in Python without a gateway: files that cannot be used, parameters, spans."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ailink.config import named_checks, python_checks
from ailink.config.guardrails import Guardrail as Rule
from ailink.config.units import Tree
from ailink.guard.vendors import ParameterError
from ailink.plugins import Context, Guardrail, Verdict, guard_app
from ailink.plugins.runner import PluginError, Runner

GOOD: dict[str, Any] = {"file": "a.py", "class": "A"}
CLASS = (
    "from ailink.plugins import Guardrail\nclass A(Guardrail):\n    def check(self, text, context): pass\n"
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**GOOD, "pth": 1}, "unknown parameter `pth`"),
        ({"class": "A"}, "`file`: expected"),
        ({"file": "a.so", "class": "A"}, "ends with `.py`"),
        ({"file": "a.py"}, "either `class` or `function`"),
        ({**GOOD, "function": "f"}, "either `class` or `function`"),
        ({"file": "a.py", "class": "a b"}, "`class`: expected a name"),
        ({**GOOD, "options": [1]}, "`options`: expected a mapping"),
        ({"file": "a.py", "function": "f", "options": {"a": 1}}, "`options` are for a `class`"),
        ({**GOOD, "timeout": "soon"}, "`timeout`: expected a duration"),
    ],
)
def test_parameters_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        python_checks.parse(given)
    rule = Rule(name="r", checks=(Tree(json.dumps({"python": given})),))
    ((path, told),) = named_checks.faults(rule)
    assert path == ("checks", 0)
    assert message in told


def test_a_good_one_has_no_faults() -> None:
    checks = (
        Tree('{"python": {"file": "a.py", "class": "A"}}'),
        Tree('{"id": "python", "parameters": {"file": "b.py", "function": "f"}}'),
    )
    rule = Rule(name="r", checks=checks)
    assert list(named_checks.faults(rule)) == []
    assert python_checks.files([rule], Path("/etc/x")) == [Path("/etc/x/a.py"), Path("/etc/x/b.py")]
    told = json.loads(named_checks.compiled(rule, "/run/plug.sock") or "")
    assert told["checks"][1]["parameters"]["input"]["url"] == "unix:/run/plug.sock:/guardrails/r/1"


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("x = (\n", "A", "line 1: SyntaxError"),
        ("import nowhere_at_all\n", "A", "line 1: ModuleNotFoundError"),
        ("\n\n1 / 0\n", "A", "line 3: ZeroDivisionError"),
        (CLASS, "B", "has no class B derived from ailink.plugins.Guardrail and no such function"),
        ("class A: pass\n", "A", "has no class A derived"),
        (
            CLASS + "    def __init__(self, options): raise ValueError('no such place')\n",
            "A",
            "no such place",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, name: str, reason: str) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)
    with pytest.raises(PluginError, match=reason) as raised:
        Runner(f"{file}:{name}", {}, Guardrail)
    assert str(file) in str(raised.value)


def test_files_are_looked_at_before_they_are_run(tmp_path: Path) -> None:
    check = python_checks.parse(GOOD)
    assert "cannot read" in (python_checks.fault(check, tmp_path) or "")
    (tmp_path / "a.py").write_text("x = (\n")
    assert "a.py, line 1" in (python_checks.fault(check, tmp_path) or "")
    (tmp_path / "a.py").write_text("raise SystemExit\n")
    assert python_checks.fault(check, tmp_path) is None


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([], None),
        ([(0, 0)], None),
        ([(0, 2)], "[X]cdef"),
        ([(4, 6), (0, 1)], "[X]bcd[X]"),
        ([(1, 4), (2, 3), (3, 5)], "a[X]f"),
        ([(0, 6)], "[X]"),
    ],
)
def test_spans_are_cut_out(spans: list[tuple[int, int]], left: str | None) -> None:
    verdict = Verdict.cut("abcdef", spans, label="X")
    assert (verdict.does, verdict.text) == (("pass", None) if left is None else ("redact", left))


@pytest.mark.parametrize("span", [(-1, 2), (2, 1), (0, 7)])
def test_a_span_beside_the_text_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is no span"):
        Verdict.cut("abcdef", [span])


def test_the_strongest_verdict_holds(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(
        "from ailink.plugins import Verdict\n"
        "def f(text, context):\n"
        "    return getattr(Verdict, text)('why') if text != 'pass' else None\n"
    )

    async def does(*texts: str) -> tuple[str, list[str], str]:
        runner = Runner(f"{file}:f", {}, Guardrail)
        question = guard_app.Question(texts=list(texts), roles=["user"] * len(texts), context=Context())
        status, told = await guard_app.answer(lambda _: runner, "it", msgspec.json.encode(question))
        await runner.stop(0)
        assert status == 200
        return told.does, told.texts, told.reason

    assert asyncio.run(does("pass", "pass")) == ("pass", [], "")
    assert asyncio.run(does("flag", "pass", "failed")) == ("fail", [], "why")
    assert asyncio.run(does("redact", "flag")) == ("redact", ["why", "flag"], "why")
    assert asyncio.run(does("redact", "block")) == ("block", ["why", "block"], "why")


@pytest.mark.parametrize(
    "path", ["/guardrails/a", "/guardrails/a/x", "/guardrails/a/0/b", "/loud/chat/completions"]
)
def test_other_paths_are_no_guardrails(path: str) -> None:
    assert guard_app.called(path) is None
