"""Changes of the configuration file while the gateway runs, LiteLLM's format, what the file may not say."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.harness import (
    Background,
    Gateway,
    Key,
    MockProvider,
    RawConnection,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
    write_config,
)
from tests.harness.raw import request


@pytest.fixture
def gateway(provider: MockProvider, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, config_of(provider, "a")) as running:
        yield running


def config_of(provider: MockProvider, *names: str, **sections: Any) -> dict[str, Any]:
    return make_config(
        *(make_model(name, make_deployment(provider, model=name)) for name in names), **sections
    )


def names(gateway: Gateway) -> list[str]:
    listed = gateway.http.get("/v1/models", headers=gateway.admin).json()["data"]
    return sorted(model["id"] for model in listed)


def ask(gateway: Gateway, key: Key, model: str) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer)


# ── a file that can be used ──────────────────────────────────────────────────────────────────────────────


def rename(file: Path, text: str) -> None:
    new = file.with_name("other-name.yaml")
    new.write_text(text)
    new.rename(file)


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def in_two_steps(file: Path, text: str) -> None:
    """As slow editors do: for a moment the file is only half there."""
    middle = len(text) // 2
    with file.open("w") as opened:
        opened.write(text[:middle])
        opened.flush()
        opened.write(text[middle:])


def remove_and_write(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def swap_link(file: Path, text: str) -> None:
    """As Kubernetes does: a directory is written, and the link to it swapped."""
    versions = file.parent / "versions"
    versions.mkdir(exist_ok=True)
    version = versions / f"v{len(list(versions.iterdir()))}.yaml"
    version.write_text(text)
    link = file.with_name(".link")
    link.symlink_to(version)
    link.replace(file)


@pytest.mark.parametrize("write", [rename, in_place, in_two_steps, remove_and_write, swap_link])
def test_ways_to_write_the_file(gateway: Gateway, provider: MockProvider, write: Any) -> None:
    key = gateway.mint()
    assert ask(gateway, key, "a").status_code == 200
    assert ask(gateway, key, "b").status_code == 404
    for names_now in (["b"], ["a", "b"], ["c"]):
        write(gateway.file, yaml.safe_dump(config_of(provider, *names_now)))
        until(lambda wanted=names_now: names(gateway) == wanted, f"{names_now} are served")  # type: ignore[misc]
        assert [ask(gateway, key, name).status_code for name in names_now] == [200] * len(names_now)
    assert ask(gateway, key, "a").status_code == 404
    assert gateway.details()["errors"] == []
    assert gateway.details()["version"] >= 4


def test_hangup(gateway: Gateway, provider: MockProvider) -> None:
    before = gateway.details()
    write_config(gateway.file, config_of(provider, "b"))
    gateway.child.signal(signal.SIGHUP)
    until(lambda: names(gateway) == ["b"], "the new file is in force")
    assert gateway.details()["version"] > before["version"]
    gateway.child.signal(signal.SIGHUP)
    until(lambda: gateway.http.get("/health/ready").status_code == 200)
    assert names(gateway) == ["b"]


def test_what_a_change_reaches(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(models=["a"])
    first = ask(gateway, key, "a")
    deployment = first.headers["x-ailink-deployment"]
    priced = config_of(provider, "a", "b")
    priced["models"][0] |= {"price": {"output_per_million": 1}, "aliases": ["another"]}
    gateway.reconfigure(priced)
    answer = ask(gateway, key, "a")
    assert answer.headers["x-ailink-cost"] == "0.000064"
    # The same deployment by its identity, with its connections and statistics.
    assert answer.headers["x-ailink-deployment"] == deployment
    assert "another" in names(gateway)
    # The list of the key's models still counts, for models that are new too.
    assert ask(gateway, key, "b").status_code == 403
    moved = config_of(provider, "a")
    moved["models"][0]["deployments"][0]["model"] = "elsewhere"
    gateway.reconfigure(moved)
    mark = provider.mark()
    answer = ask(gateway, key, "a")
    assert answer.headers["x-ailink-deployment"] != deployment
    assert provider.requests(mark)[0].json()["model"] == "elsewhere"


def test_a_stream_goes_on_over_a_change(gateway: Gateway, provider: MockProvider) -> None:
    slow = make_config(make_model("slow", make_deployment(provider, "events=40;gap=50ms")))
    gateway.reconfigure(slow)
    key = gateway.mint()
    body = chat("slow", stream=True)
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=key.bearer) as stream:
        parts = stream.iter_bytes()
        received = next(parts)
        gateway.reconfigure(config_of(provider, "other"))
        assert ask(gateway, key, "slow").status_code == 404
        received += b"".join(parts)
    events = events_of(received)
    assert events[-1].done
    assert sum(bool(event.json()["choices"][0]["delta"].get("content")) for event in events[:-1]) == 40
    [row] = gateway.attempts_of(stream.headers["x-request-id"])
    assert (row["source"], row["completion_tokens"]) == ("reported", 40)


def test_nothing_fails_while_the_file_changes(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint()
    with Background(lambda: ask(gateway, key, "a").status_code, threads=3) as load:
        for number in range(4):
            gateway.reconfigure(config_of(provider, "a", f"extra-{number}"))
    assert load.errors == []
    assert set(load.results) == {200}
    assert len(load.results) > 20


def test_included_files(provider: MockProvider, tmp_path: Path) -> None:
    part = tmp_path / "part.yaml"
    write_config(part, config_of(provider, "b"))
    with Gateway(tmp_path, {**config_of(provider, "a"), "include": ["part.yaml"]}) as gateway:
        assert names(gateway) == ["a", "b"]
        write_config(part, config_of(provider, "c"))
        until(lambda: names(gateway) == ["a", "c"], "the included file is watched too")
        part.write_text("models: 7\n")
        until(lambda: gateway.details()["errors"], "its problems are told")
        assert "part.yaml:1" in gateway.details()["errors"][0]
        assert names(gateway) == ["a", "c"]


# ── a file that cannot ───────────────────────────────────────────────────────────────────────────────────


MODELS = """models:
- {name: a, deployments: [{provider: mock}]%s}
- {name: %s, deployments: [{provider: mock}]%s}
"""
BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)
BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown-key": ("modles: []\n", (":1:1:", "modles", "models")),
    "unknown-deep": (
        "models:\n  - name: a\n    deployments:\n      - provider: mock\n        wieght: 2\n",
        (":5:9:", "models[0].deployments[0].wieght", "weight"),
    ),
    "unknown-provider": (
        "models: [{name: a, deployments: [{provider: opnai}]}]\n", (":1:", "opnai", "openai"),
    ),
    "wrong-type": ("server: {port: many}\n", (":1:", "server.port")),
    "out-of-range": ("server: {port: 99999}\n", (":1:", "server.port")),
    "no-unit": ("server:\n  limits:\n    body_idle: 5\n", (":3:", "server.limits.body_idle", "unit")),
    "yaml-syntax": ("models: [{name: a\n", (":",)),
    "yaml-tab": ("server:\n\tport: 1\n", (":2:",)),
    "yaml-two-documents": ("models: []\n---\nmodels: []\n", (":2:",)),
    "yaml-duplicate": ("server: {port: 1}\nserver: {port: 2}\n", (":2:", "server")),
    "yaml-alias-bomb": (BOMB, (":",)),
    "yaml-python": ("models: !!python/object/apply:os.system ['true']\n", (":1:",)),
    "a-list": ("- a\n- b\n", (":1:",)),
    "a-text": ("hello\n", (":1:",)),
    "not-utf8": ("", ("UTF-8",)),
    "deep": ("[" * 5000, (":",)),
    "missing-variable": ("master_key: ${AILINK_NO_SUCH_VARIABLE}\n", (":1:", "AILINK_NO_SUCH_VARIABLE")),
    "unknown-fallback": (
        MODELS.replace("name: a", "name: gpt-4o") % ("", "b", ", fallbacks: [gpt-40]"),
        (":3:", "models[1].fallbacks[0]", "gpt-40", "did you mean `gpt-4o`?"),
    ),
    "circle": (MODELS % (", fallbacks: [b]", "b", ", fallbacks: [a]"), ("circle",)),
    "same-name-twice": (MODELS % ("", "a", ""), (":3:", "models[1].name")),
    "no-deployment": ("models: [{name: a, deployments: []}]\n", (":1:", "deployments")),
    "bad-url": (
        "models: [{name: a, deployments: [{provider: openai_compatible, base_url: 'ftp://x'}]}]\n",
        (":1:", "base_url"),
    ),
    "weak-master-key": ("master_key: sk-1234\n", (":1:", "master_key")),
    "reserved": ("mcp: []\n", (":1:", "mcp")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_check_tells_what_is_wrong(tmp_path: Path, name: str) -> None:
    text, words = BAD[name]
    file = tmp_path / "ailink.yaml"
    file.write_bytes(b"models: \xff\xfe\n" if name == "not-utf8" else text.encode())
    gateway = Gateway(tmp_path)
    gateway.http.close()
    gateway.child.arguments = ["-m", "ailink", "check", str(file)]
    assert gateway.child.start().wait() == 1, gateway.log
    assert "Traceback" not in gateway.log
    lines = [line for line in gateway.log.splitlines() if "ailink.yaml" in line]
    assert lines, gateway.log
    assert any(all(word in line for word in words) for line in lines), gateway.log
    assert "sk-1234" not in gateway.log
    if name not in {"unknown-deep", "yaml-syntax", "circle"}:
        return
    # `serve` says the same and starts nothing.
    serving = Gateway(tmp_path / "serving")
    serving.http.close()
    serving.child.arguments = ["-m", "ailink", "serve", "--config", str(file), "--port", str(serving.port)]
    assert serving.child.start().wait() == 1
    assert [line for line in serving.log.splitlines() if "ailink.yaml" in line][: len(lines)] == lines


def test_a_bad_file_changes_nothing(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint()
    for name in ("unknown-deep", "yaml-syntax", "a-list", "circle", "missing-variable"):
        text, words = BAD[name]
        write_config(gateway.file, text)
        until(
            lambda words=words: any(  # type: ignore[misc]
                all(word in error for word in words) for error in gateway.details()["errors"]
            ),
            f"{name} is told: {words}",
        )
        assert gateway.http.get("/health/ready").status_code == 200
        assert ask(gateway, key, "a").status_code == 200
        assert names(gateway) == ["a"]
        assert gateway.details()["version"] == 1
    readiness = gateway.call("/health/readiness/details")
    assert readiness["status"] == "degraded"
    assert readiness["config"]["errors"]
    gateway.file.unlink()
    until(lambda: "ailink.yaml" in str(gateway.details()["errors"]), "the missing file is told")
    assert ask(gateway, key, "a").status_code == 200
    write_config(gateway.file, config_of(provider, "a", "b"))
    until(lambda: names(gateway) == ["a", "b"], "the good file is in force")
    assert gateway.details()["errors"] == []
    assert gateway.call("/health/readiness/details")["status"] == "healthy"
    assert "Traceback" not in gateway.log


def test_secrets_are_not_told(gateway: Gateway) -> None:
    secret = "sk-proj-Zq8Rk2Lw7Tn4Vx1M"
    write_config(
        gateway.file,
        f"models: [{{name: a, deployments: [{{provider: openai, api_key: {secret}, wieght: 1}}]}}]\n",
    )
    until(lambda: gateway.details()["errors"], "the problem is told")
    assert secret not in gateway.http.get("/health/ready").text
    assert secret not in gateway.log
    assert secret not in gateway.http.get("/metrics").text


def test_what_needs_a_restart_is_named(gateway: Gateway, provider: MockProvider) -> None:
    write_config(gateway.file, config_of(provider, "a", server={"limits": {"header_count": 50}}))
    until(lambda: gateway.details()["restart_required"], "a restart is asked for")
    assert gateway.details()["restart_required"] == ["server.limits"]
    assert gateway.details()["errors"] == []
    gateway.restart()
    assert gateway.details()["restart_required"] == []
    headers = [("host", "x"), *((f"x-{number}", "1") for number in range(60))]
    with RawConnection(gateway.port) as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        connection.send(f"GET /health/live HTTP/1.1\r\n{lines}\r\n".encode())
        assert connection.response().status == 431


def test_a_credential_of_the_store(gateway: Gateway, provider: MockProvider) -> None:
    """Keys of providers need not stand in the file."""
    gateway.call("/credentials", {"credential_name": "mine", "credential_values": {"api_key": "sk-one"}})
    deployment = {
        "provider": "openai_compatible", "base_url": f"{provider.url}/v1", "credential": "mine", "model": "x",
    }  # fmt: skip
    gateway.reconfigure(make_config(make_model("stored", deployment)))
    key = gateway.mint()
    mark = provider.mark()
    assert ask(gateway, key, "stored").status_code == 200
    assert provider.requests(mark)[0].headers["authorization"] == "Bearer sk-one"
    changed = gateway.http.patch(
        "/credentials/mine", json={"credential_values": {"api_key": "sk-two"}}, headers=gateway.admin
    )
    assert changed.status_code == 200
    assert ask(gateway, key, "stored").status_code == 200
    assert provider.requests(mark)[1].headers["authorization"] == "Bearer sk-two"
    gateway.restart()
    assert ask(gateway, key, "stored").status_code == 200
    assert provider.requests(mark)[2].headers["authorization"] == "Bearer sk-two"
    for file in gateway.data.rglob("*"):
        if file.is_file():
            assert b"sk-two" not in file.read_bytes(), file


# ── LiteLLM's file ───────────────────────────────────────────────────────────────────────────────────────


def test_a_litellm_file_runs(provider: MockProvider, tmp_path: Path) -> None:
    text = f"""
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: {provider.url}/v1
      api_key: os.environ/UPSTREAM_KEY
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_base: {provider.url}
      api_key: sk-ant-1
litellm_settings:
  num_retries: 2
  drop_params: true
  success_callback: [langfuse]
general_settings:
  master_key: sk-lite-Qm7Zx4Kp9Wr2Vt
"""
    env = {"UPSTREAM_KEY": "sk-from-environment"}
    with Gateway(tmp_path, text, env=env) as gateway:
        master = {"Authorization": "Bearer sk-lite-Qm7Zx4Kp9Wr2Vt"}
        made = gateway.http.post(
            "/key/generate", json={"models": ["gpt-4o", "claude"]}, headers=master
        ).json()
        bearer = {"Authorization": f"Bearer {made['key']}"}
        mark = provider.mark()
        answer = gateway.http.post("/v1/chat/completions", json=chat("gpt-4o"), headers=bearer)
        assert answer.status_code == 200, answer.text
        # As LiteLLM does: the model that was asked for is the model of the answer.
        assert answer.json()["model"] == "gpt-4o"
        answer = gateway.http.post("/v1/messages", json=message("claude"), headers=bearer)
        assert answer.status_code == 200, answer.text
        seen = provider.requests(mark)
        assert seen[0].json()["model"] == "gpt-4o-mini"
        assert seen[0].headers["authorization"] == "Bearer sk-from-environment"
        assert seen[1].headers["x-api-key"] == "sk-ant-1"
        details = gateway.http.get("/health/ready").json()["details"]["config"]
        assert details["source"] == "litellm"
        # What is not understood is listed, never passed over in silence.
        notes = " ".join(details["notes"])
        assert "drop_params" in notes
        assert "success_callback" in notes


def test_a_stream_in_flight_at_the_end(provider: MockProvider, tmp_path: Path) -> None:
    """SIGTERM lets a running stream finish."""
    config = make_config(make_model("m", make_deployment(provider, "events=20;gap=50ms")))
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
        with RawConnection(gateway.port) as connection:
            connection.send(
                request("POST", "/v1/chat/completions", body, authorization=f"Bearer {key.secret}")
            )
            start = connection.some()
            assert start.startswith(b"HTTP/1.1 200")
            os.kill(gateway.child.pid, signal.SIGTERM)
            rest = start + connection.rest()
        assert b"data: [DONE]" in rest
        assert gateway.child.wait() == 0
        [row] = gateway.ledger()
        assert (row.source, row.output) == ("reported", 20)
