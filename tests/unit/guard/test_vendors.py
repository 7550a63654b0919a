"""Rows of services: complete, documented, and strict about their parameters."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ailink.config import named_checks as checks
from ailink.config.guardrails import Guardrail
from ailink.config.units import Tree
from ailink.guard import vendors

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", vendors.load())
def test_every_row_compiles_with_what_it_needs(name):
    row = vendors.load()[name]
    assert row.docs.startswith("https://")
    assert row.input or row.output
    given = {}
    for parameter, told in row.parameters.items():
        if told.required:
            address = "address" in told.about or "https" in told.about
            given[parameter] = "https://x.example" if address else "x"
    rule = Guardrail(name="r", checks=(Tree(json.dumps({name: given})),))
    assert list(checks.faults(rule)) == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ('{"lakera": {}}', "lakera: `api_key` is missing (or the environment's LAKERA_API_KEY)"),
        ('{"lakera": {"api_key": "k", "projekt_id": "p"}}', "did you mean `project_id`"),
        ('{"lakera": {"api_key": "k", "timeout": "soon"}}', "expected a duration"),
        ('{"lakera": {"api_key": "k", "api_base": "ftp://x"}}', "no address of http"),
        ('{"lakera": {"api_key": "k", "timeout": "10m"}}', "timeout: expected 1 to 60000"),
        ('{"lakra": {}}', "no check `lakra`"),
        ('{"wordCount": {"maxWord": 1}}', "did you mean `maxWords`"),
        ('{"wordCount": {}, "contains": {}}', "one check in each item"),
        ('{"remote": {"url": "http://x"}}', "no check `remote`"),
        ('"notNull"', ""),
    ],
)
def test_what_is_wrong_is_told(check, text, monkeypatch):
    monkeypatch.delenv("LAKERA_API_KEY", raising=False)
    found = [told for _, told in checks.faults(Guardrail(name="r", checks=(Tree(check),)))]
    assert text in " ".join(found)
    assert bool(found) == bool(text)


def test_the_page_shows_the_rows():
    page = [sys.executable, str(ROOT / "scripts/vendors_page.py"), "--check"]
    assert subprocess.run(page, check=False).returncode == 0, "run scripts/vendors_page.py"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("lakera", {"identity": {"aws": {}}}, "this service takes keys only"),
        ("azure_pii", {"endpoint": "https://x", "identity": {"aws": {}}}, "takes identities of `azure`"),
        ("azure_pii", {"endpoint": "https://x", "identity": {"azure": {}}, "api_key": "k"}, "not both"),
        ("azure_pii", {"endpoint": "https://x", "identity": {"azur": {}}}, "identity"),
        ("azure_pii", {"endpoint": "https://x", "identity": "me"}, "identity"),
        ("azure_pii", {"identity": {"azure": {}}}, "`endpoint` is missing"),
    ],
)
def test_identities_that_cannot_be(name: str, given: dict[str, Any], message: str) -> None:
    rule = Guardrail(name="r", checks=(Tree(json.dumps({name: given})),))
    ((path, told),) = checks.faults(rule)
    assert path == ("checks", 0)
    assert message in told
