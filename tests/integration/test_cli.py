"""The commands, each as a process, against a running gateway where they need one."""

import json
import re
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.harness import Child, Gateway, MockProvider, chat, make_config, make_deployment, make_model
from tests.harness.process import ROOT

from ailink import _core


class Run:
    """Runs `ailink …` in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0

    def __call__(self, *arguments: str, code: int = 0, **env: str) -> str:
        """What it wrote; its exit code must be `code`."""
        self._count += 1
        child = Child(
            f"run-{self._count}", ["-m", "ailink", *arguments], self.directory, {"NO_COLOR": "1", **env}
        )
        found = child.start().wait(60)
        assert found == code, f"{arguments}: {found}\n{child.log}"
        assert "Traceback" not in child.log
        return child.log


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    price = {"input_per_million": 1, "output_per_million": 2}
    config = make_config(
        make_model("m", make_deployment(provider, id="first"), price=price),
        make_model("other", make_deployment(provider)),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def at(gateway: Gateway) -> Run:
    """Commands in the directory of the gateway's file: they find address and key by themselves."""
    return Run(gateway.directory)


def reach(gateway: Gateway) -> dict[str, Any]:
    return {"AILINK_URL": gateway.url, "AILINK_KEY": gateway.admin_key}


def test_version(run: Run) -> None:
    text = run("version")
    assert _core.__version__ in text
    assert _core.build_profile() in text
    assert text == run("--version") == run("-V")


def test_help(run: Run) -> None:
    text = run("--help")
    for command in (
        "serve",
        "init",
        "check",
        "keys",
        "models",
        "stages",
        "mock",
        "bench",
        "migrate",
        "doctor",
    ):
        assert command in text
    run("nonsense", code=2)
    run("serve", "--nonsense", code=2)
    run("serve", "--port", "99999", code=2)


def test_stages_are_those_of_the_plane(run: Run) -> None:
    found = json.loads(run("stages", "--json"))
    assert [(row["stage"], row["source"]) for row in found] == _core.stages()
    for _, source in _core.stages():
        assert (ROOT / source).is_file(), source
    plain = run("stages")
    positions = [plain.index(name) for name, _ in _core.stages()]
    assert positions == sorted(positions)


def test_init_writes_a_file_that_passes(run: Run, tmp_path: Path) -> None:
    run("init")
    file = tmp_path / "ailink.yaml"
    assert file.stat().st_size > 500
    run("init", code=1)
    text = run("check")
    assert "ok" in text
    assert json.loads(run("check", "--json"))["ok"] is True
    run("init", "--force")
    with Gateway(tmp_path / "from-init", file.read_text()) as gateway:
        assert gateway.call("/v1/models")["object"] == "list"


def test_check_without_a_file(run: Run) -> None:
    assert "ailink init" in run("check", code=1)
    assert "none.yaml" in run("check", "none.yaml", code=1)


def test_check_as_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("server: {prot: 1}\nmodels: 7\n")
    found = json.loads(run("check", "bad.yaml", "--json", code=1))
    assert found["ok"] is False
    assert [(problem["line"], problem["path"]) for problem in found["problems"]] == [
        (1, "server.prot"), (2, "models"),
    ]  # fmt: skip


def test_keys(gateway: Gateway, run: Run) -> None:
    env = reach(gateway)
    made = json.loads(
        run("keys", "create", "--alias", "cli", "--model", "m", "--rpm", "100", "--json", **env)
    )
    key = made["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    assert gateway.http.post("/v1/chat/completions", json=chat(), headers=bearer).status_code == 200
    assert gateway.http.post("/v1/chat/completions", json=chat("other"), headers=bearer).status_code == 403
    plain = run("keys", "create", **env)
    assert re.search(r"^sk-\S{40,}$", plain, re.MULTILINE)
    listed = run("keys", "list", **env)
    assert "cli" in listed
    assert key not in listed
    info: Any = json.loads(run("keys", "info", key, "--json", **env))
    assert info["info"]["key_alias"] == "cli"
    assert float(info["info"]["spend"]) > 0
    run("keys", "block", "cli", **env)
    assert gateway.http.get("/v1/models", headers=bearer).status_code == 401
    run("keys", "unblock", made["token"], **env)
    assert gateway.http.get("/v1/models", headers=bearer).status_code == 200
    new = json.loads(run("keys", "regenerate", key, "--json", **env))["key"]
    assert gateway.http.get("/v1/models", headers=bearer).status_code == 401
    run("keys", "delete", new, **env)
    assert "cli" not in run("keys", "list", **env)
    assert json.loads(run("keys", "info", new, "--json", **env))["info"]["status"] == "deleted"
    assert "no such key" in run("keys", "info", "sk-never-was-there-00", code=1, **env)


def test_keys_find_the_gateway_by_its_file(gateway: Gateway, at: Run) -> None:
    made = gateway.mint(key_alias="by-file")
    assert "by-file" in at("keys", "list", "--url", gateway.url)
    assert "by-file" in at("keys", "info", made.token, "--url", gateway.url)


def test_keys_without_a_gateway(run: Run) -> None:
    text = run("keys", "list", code=1, AILINK_URL="http://127.0.0.1:9", AILINK_KEY="sk-x")
    assert "127.0.0.1:9" in text


def test_keys_with_a_wrong_key(gateway: Gateway, run: Run) -> None:
    text = run("keys", "list", code=1, AILINK_URL=gateway.url, AILINK_KEY="sk-not-an-admin-key")
    assert "401" in text or "key" in text
    assert "sk-not-an-admin-key" not in text


def test_models(gateway: Gateway, run: Run) -> None:
    text = run("models", **reach(gateway))
    assert "m" in text
    assert "other" in text
    found = run("models", "list", **reach(gateway))
    assert "mock" in found
    rows = json.loads(run("models", "--json", **reach(gateway)))
    assert "first" in json.dumps(rows)


def test_explain_tells_what_the_ledger_knows_where_no_decision_is_kept(gateway: Gateway, run: Run) -> None:
    answer = gateway.http.post("/v1/chat/completions", json=chat("m", "hello"), headers=gateway.mint().bearer)
    request_id = answer.raise_for_status().headers["x-ailink-request-id"]
    told = run("explain", request_id, **reach(gateway))
    assert re.search(r"^1 +request +mock/\S+ +the only one +success +200 ", told, re.MULTILINE), told
    assert "routing: {explain: {keep: 1000}}" in told
    (row,) = json.loads(run("explain", request_id, "--json", **reach(gateway)))["spend"]
    assert (row["request_id"], row["attempt_no"], row["status_code"]) == (request_id, 1, 200)
    unknown = run("explain", "req_" + "0" * 32, code=1, **reach(gateway))
    assert "Nothing is known of the request" in unknown


def test_doctor(run: Run) -> None:
    found = json.loads(run("doctor", "--json"))
    assert found
    text = run("doctor")
    assert _core.build_profile() in text


def test_migrate(gateway: Gateway, run: Run, tmp_path: Path) -> None:
    assert run("migrate", "--check", code=1)
    run("migrate")
    run("migrate", "--check")
    with Gateway(tmp_path) as started:
        assert started.mint().secret


def test_the_mock_has_its_own_help(run: Run) -> None:
    assert "--script" in run("mock", "--help")
    assert "--" in run("bench", "--help")
    run("mock", "provider", "--nonsense", code=2)


def test_a_short_bench(gateway: Gateway, run: Run) -> None:
    options = ["--url", f"{gateway.url}/v1/chat/completions", "--key", gateway.mint().secret, "--model", "m"]
    found = json.loads(run("bench", *options, "--connections", "2", "--requests", "50"))
    assert (found["errors"], found["failed"]) == ({}, 0)
    assert found["latency_us"]["first_byte"]["count"] == 50


def test_files_are_private(gateway: Gateway) -> None:
    assert stat.S_IMODE(gateway.data.stat().st_mode) == 0o700
    for file in gateway.data.iterdir():
        if file.is_file() or file.is_socket():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Base URL of a server, and the file with its list of models."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    (tmp_path / "v1").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{made.server_address[1]}/v1", tmp_path / "v1" / "models"
        made.shutdown()
        thread.join()


def test_what_a_server_serves_is_discovered(run: Run, server: tuple[str, Path], tmp_path: Path) -> None:
    url, models = server
    entries = [{"id": "qwen3", "object": "model", "max_model_len": 32768}, {"id": "nomic-embed-text"}]
    models.write_text(json.dumps({"object": "list", "data": entries}))
    found = yaml.safe_load(run("models", "discover", url, "--provider", "vllm"))
    assert [model["name"] for model in found["models"]] == ["nomic-embed-text", "qwen3"]
    assert found["models"][0]["mode"] == "embedding"
    deployment = {"provider": "vllm", "base_url": url, "model": "qwen3"}
    assert found["models"][1]["deployments"] == [deployment]
    (tmp_path / "ailink.yaml").write_text(yaml.safe_dump(found))
    run("check", str(tmp_path / "ailink.yaml"))
    assert "no provider `x`" in run("models", "discover", url, "--provider", "x", code=1)
    models.write_text("[]")
    assert "something else than a list" in run("models", "discover", url, code=1)
    models.unlink()
    assert "answered 404" in run("models", "discover", url, code=1)
    assert "cannot reach" in run("models", "discover", "http://127.0.0.1:9/v1", code=1)


def test_who_still_uses_what_ends(run: Run, provider: MockProvider, tmp_path: Path) -> None:
    day = (datetime.now(UTC).date() + timedelta(days=10)).isoformat()
    prices = {
        "version": "t", "date": day, "source": "t", "source_file": "", "source_sha256": "", "licence": "",
        "unit": "t", "models": {"openai": {"old": {"ends": day}, "new": {}}},
    }  # fmt: skip
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    there = make_deployment(provider)
    openai = {"provider": "openai", "base_url": there["base_url"], "api_key": "none"}
    config = make_config(
        make_model("old", {**openai, "model": "old"}, fallbacks=["new"]),
        make_model("new", {**openai, "model": "new"}),
        prices=[str(tmp_path / "prices.json")],
    )
    with Gateway(tmp_path / "gateway", config) as gateway:
        key = gateway.mint(key_alias="late")
        gateway.http.post("/v1/chat/completions", json=chat("old"), headers=key.bearer)
        options = ("--url", gateway.url, "--key", gateway.admin_key)
        told = json.loads(run("models", "ending", "--json", *options))["data"]
        assert [(one["model"], one["ends"], one["days_left"], one["fallbacks"]) for one in told] == [
            ("old", day, 10, ["new"])
        ]
        assert [(user["key_id"], user["requests"]) for user in told[0]["used_by"]] == [(key.id, 1)]
        assert key.id in run("models", "ending", *options)
        assert json.loads(run("models", "ending", "--days", "9", "--json", *options))["data"] == []


def test_policies(gateway: Gateway, run: Run, tmp_path: Path) -> None:
    """The whole way is in `test_policy_pages`; here are the process, its exit codes and what is wrong."""
    at = partial(run, **reach(gateway))
    file = tmp_path / "p.yaml"
    file.write_text("name: short\nwhen: body.max_tokens > 10\nthen: [{deny: {message: too long}}]\n")
    request = tmp_path / "r.json"
    request.write_text(json.dumps(chat("m", max_tokens=11)))
    told = json.loads(at("policies", "simulate", str(request), "--draft", str(file), "--json", code=1))
    assert (told["outcome"], told["message"]) == ("deny", "too long")
    assert "short: version 1, shadow" in at("policies", "put", str(file), "--shadow")
    assert "has no version 7" in at("policies", "rollback", "short", "7", code=1)
    file.write_text("name: short\nwhen: body.max_tokens >\nthen: [{deny: {}}]\n")
    assert "p.yaml:2:7: when" in at("policies", "check", str(file), "--config", str(gateway.file), code=1)
    assert "deleted" in at("policies", "delete", "short")
