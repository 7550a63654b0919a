"""`ailink providers`: list, show, check."""

import json

import pytest
from typer.testing import CliRunner

from ailink.cli.app import build

ROW = """\
id = "mine"
title = "Mine"
base_url = "https://mine.example/v1"
dialect = "openai"
env = ["MINE_API_KEY"]
stream_usage = "inject"
pool_idle_ms = 4000
auth = { scheme = "bearer" }
operations = { chat = "/chat/completions" }
"""


@pytest.fixture
def ailink(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(
        build(), ["providers", *arguments], env={"COLUMNS": "300", "NO_COLOR": "1"}
    )


def test_list(ailink):
    text = ailink("list").stdout
    assert "groq" in text
    assert "together_ai" in text
    rows = json.loads(ailink("list", "--json").stdout)
    assert len(rows) >= 100
    assert text.splitlines()[-1] == f"{len(rows)} providers"
    assert ailink().stdout == text


def test_show(ailink):
    text = ailink("show", "together_ai").stdout
    assert "Together AI" in text
    assert "/chat/completions" in text
    azure = ailink("show", "azure").stdout
    assert "account, api_version (else 2024-10-21)" in azure
    assert "chat: seed" in ailink("show", "mistral").stdout
    row = json.loads(ailink("show", "mistral", "--json").stdout)
    assert row["parameters"]["chat"]["seed"] == {"to": "random_seed"}
    assert "headers" not in row
    done = ailink("show", "grok")
    assert (done.exit_code, "Did you mean `groq`?" in done.output or "groq" in done.output) == (1, True)


def test_check(ailink, tmp_path):
    assert ailink("check").stdout.startswith("ok: ")
    file = tmp_path / "mine.toml"
    file.write_text(ROW)
    assert ailink("check", "--file", str(file)).stdout == "ok: 1 row\n"
    file.write_text(ROW.replace('scheme = "bearer"', 'scheme = "basic"'))
    done = ailink("check", "--file", str(file))
    assert done.exit_code == 1
    assert "mine.toml: auth.scheme: Invalid enum value" in done.output
    told = json.loads(ailink("check", "--file", str(file), "--json").stdout)
    assert (told["ok"], told["fault"]["key"]) == (False, "auth.scheme")
    file.write_text(ROW.replace('env = ["', 'aliases = ["groq"]\nenv = ["'))
    assert "`groq` is taken by groq" in ailink("check", "--file", str(file)).output
    assert "cannot read" in ailink("check", "--file", "nowhere.toml").output
