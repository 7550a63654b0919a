"""The pages of `docs/reference` against what they describe."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from scripts import commands_page, configuration_page
from typer.testing import CliRunner

from ailink.cli.app import build

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
FACT = re.compile(r'^\s*Code::\w+\s*=> \((\d{3}), "\w+",\s*"(\w+)",', re.MULTILINE)
ROW = re.compile(r"^\| `(.+?)` \| (\d{3})\b", re.MULTILINE)
SERIES = re.compile(r'"(ailink_[a-z_]+)"')


@pytest.mark.parametrize("page", [configuration_page, commands_page], ids=["configuration", "commands"])
def test_rendered_pages_are_up_to_date(page):
    assert page.rendered() == page.PAGE.read_text(), f"run .venv/bin/python -m {page.__name__}"


def test_headings_of_the_configuration_differ():
    """Links lead to headings by their letters alone."""
    headings = re.findall(r"^## (.*)$", configuration_page.PAGE.read_text(), re.MULTILINE)
    anchors = [configuration_page.anchor(heading) for heading in headings]
    assert len(anchors) == len(set(anchors))


def test_errors_of_requests_are_explained_with_their_status():
    text = (ROOT / "rust/core/src/error.rs").read_text()
    known = {(code, status) for status, code in FACT.findall(text)}
    assert len(known) == int(re.search(r"ALL: \[Code; (\d+)\]", text)[1])
    page = (REFERENCE / "errors.md").read_text().partition("## Management")[0]
    assert set(ROW.findall(page)) == known


def codes(source: str) -> Iterator[str]:
    """Codes of errors that a module raises, as far as they stand in it as they are."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
        at = {"bad_request": 2, "not_found": 2, "forbidden": 1, "conflict": 1}.get(name or "")
        if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
            yield str(node.args[at].value)


def test_errors_of_management_are_explained():
    found = {
        code
        for folder in ("admin", "shell", "plugins")
        for file in (ROOT / "python/ailink" / folder).rglob("*.py")
        for code in codes(file.read_text())
    }
    assert len(found) > 60
    told = set(re.findall(r"`(\w+)`", (REFERENCE / "errors.md").read_text()))
    assert found - told == set()


def test_metrics_are_explained():
    sources = [*(ROOT / "rust/core/src").rglob("*.rs"), ROOT / "python/ailink/observe/metrics.py"]
    known = {name for source in sources for name in SERIES.findall(source.read_text())}
    told = set(re.findall(r"`(ailink_\w+)`", (REFERENCE / "metrics.md").read_text()))
    # Prometheus' client for Python writes the end of a counter's name by itself.
    assert {name for name in known if not {name, f"{name}_total"} & told} == set()
    assert {name for name in told if not {name, name.removesuffix("_total")} & known} == set()


def test_the_configuration_of_the_readme_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("AILINK_MASTER_KEY", "sk-Zp3bq7Xw9Ld2Vn6Rk1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "ailink.yaml"
    file.write_text(text)
    done = CliRunner().invoke(build(), ["check", "--strict", str(file)])
    assert done.exit_code == 0, done.output


def test_the_configuration_of_the_containers_is_taken(tmp_path, monkeypatch):
    for name, value in {
        "AILINK_MASTER_KEY": "sk-Zp3bq7Xw9Ld2Vn6Rk1",
        "AILINK_ENCRYPTION_KEY": "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=",
        "PGPASSWORD": "secret",
        "NODE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())
    file = tmp_path / "ailink.yaml"
    file.write_text(composed["configs"]["ailink"]["content"].replace("$$", "$"))
    done = CliRunner().invoke(build(), ["check", str(file)])
    assert done.exit_code == 0, done.output


def test_every_guide_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    guides = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    parts = {guide for guide in guides if guide.startswith("policies/")}
    assert {guide for guide in guides - parts - {"README.md"} if f"({guide})" not in index} == set()
