"""The process around the data plane: start, signals, reload, restart, end. The data plane is a stand-in."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ailink.config.schema import Config, Server, Tls
from ailink.config.secret import Secret

ROOT = Path(__file__).parents[3]
RUNNER = Path(__file__).with_name("run_with_fake_core.py")
MOCK = "models: [{{name: {0}, deployments: [{{provider: mock}}]}}]\n"
LOCAL = "models: [{{name: {0}, deployments: [{{provider: ollama}}]}}]\n"


class Gateway:
    """One `ailink serve`."""

    def __init__(self, directory, *arguments, env=None):
        self.directory = directory
        self.journal_file = directory / "journal"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("AILINK_", "FAKE_"))
        }
        clean |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "FAKE_JOURNAL": str(self.journal_file),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(RUNNER), "serve", "--port", "0", *arguments],
            cwd=directory,
            env=clean | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def journal(self):
        lines = self.journal_file.read_text().splitlines() if self.journal_file.exists() else []
        return [json.loads(line) for line in lines]

    def events(self):
        return [entry["event"] for entry in self.journal()]

    def until(self, condition, seconds=60):
        """Waits for what happens in another process."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.02)
        raise AssertionError(self.journal())

    def port(self):
        return self.until(lambda: [entry["port"] for entry in self.journal() if entry["event"] == "start"])[0]

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.port()), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            data = b""
            while part := connection.recv(65536):
                data += part
        return json.loads(data.partition(b"\r\n\r\n")[2])

    def ready(self):
        self.port()
        return self.until(lambda: (answer := self.ask())["ready"] and answer)

    def end(self, number=signal.SIGTERM, seconds=60):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@pytest.fixture
def serve(tmp_path):
    """Starts gateways in one directory; none outlives the test."""
    started = []

    def serve(*arguments, env=None):
        started.append(Gateway(tmp_path, *arguments, env=env))
        return started[-1]

    yield serve
    for gateway in started:
        with contextlib.suppress(ProcessLookupError):
            gateway.process.kill()
        gateway.process.communicate()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_start_without_anything(serve, tmp_path):
    gateway = serve()
    answer = gateway.ready()
    assert answer["models"] == ["mock"]
    assert answer["urls"] == ["http://127.0.0.1:4321/v1", "http://127.0.0.1:4321"]
    assert answer["keys"] == 1
    assert answer["details"]["config"]["errors"] == []
    data = tmp_path / ".ailink"
    assert mode(data) == 0o700
    assert {
        name: mode(data / name) for name in ("admin.key", "encryption.key", "ailink.db", "shell.sock")
    } == {
        "admin.key": 0o600,
        "encryption.key": 0o600,
        "ailink.db": 0o600,
        "shell.sock": 0o600,
    }
    code, out, err = gateway.end()
    assert code == 0, err
    assert not (data / "shell.sock").exists()
    # All that requests need is there before the first is accepted.
    events = [event for event in gateway.events() if event not in {"options", "push_credentials"}]
    assert events == [
        "mock.start",
        "publish",
        "set_status",
        "upsert_keys",
        "start",
        "set_status",
        "drain",
        "drained",
        "mock.stop",
        "stop",
    ]
    key = (data / "admin.key").read_text().strip()
    assert key not in out + err
    curl = re.search(r"curl (?s:.*)", out)[0]
    assert f'"Authorization: Bearer $(cat {data}/admin.key)"' in curl
    assert f"http://127.0.0.1:{gateway.port()}/v1/chat/completions" in curl


def test_the_curl_line_works_as_pasted(serve):
    gateway = serve()
    gateway.ready()
    out = ""
    while "-d " not in out:
        out += gateway.process.stdout.readline()
    line = re.search(r"curl (?s:.*)", out)[0]
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["ready"] is True


def test_ctrl_c_drains_too(serve):
    gateway = serve()
    gateway.ready()
    code, _, err = gateway.end(signal.SIGINT)
    assert (code, "Traceback" in err) == (0, False)


def test_the_second_signal_is_obeyed_at_once(serve):
    gateway = serve(env={"FAKE_DRAIN_SECONDS": "60"})
    gateway.ready()
    gateway.process.send_signal(signal.SIGTERM)
    gateway.until(lambda: "drain" in gateway.events())
    began = time.monotonic()
    code, _, err = gateway.end(signal.SIGTERM)
    assert (code, "stopping at once" in err) == (128 + signal.SIGTERM, True)
    assert time.monotonic() - began < 30


def test_a_change_of_the_file_is_taken_and_a_bad_one_is_told(serve, tmp_path):
    file = tmp_path / "ailink.yaml"
    file.write_text(LOCAL.format("a"))
    gateway = serve()
    assert gateway.ready()["models"] == ["a"]
    file.write_text(LOCAL.format("b"))
    gateway.until(lambda: gateway.ask()["models"] == ["b"])
    file.write_text("modles: []\n")
    config = gateway.until(lambda: (found := gateway.ask()["details"]["config"])["errors"] and found)
    assert "did you mean `models`?" in config["errors"][0]
    assert config["version"] == 2
    assert gateway.ask()["models"] == ["b"]
    file.write_text(LOCAL.format("refused-by-plane"))
    gateway.until(lambda: "does not like this" in str(gateway.ask()["details"]["config"]["errors"]))
    file.write_text(MOCK.format("c"))
    gateway.until(lambda: gateway.ask()["models"] == ["c"])
    assert gateway.ask()["details"]["config"]["errors"] == []
    # The mock provider is started when a model first needs it.
    assert "mock.start" in gateway.events()
    assert gateway.end()[0] == 0


def test_a_litellm_file_runs_and_what_has_no_effect_is_said(serve, tmp_path):
    text = """\
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: sk-x, tag_regex: [a]}
general_settings: {alerting: [slack]}
"""
    (tmp_path / "config.yaml").write_text(text)
    gateway = serve("--config", "config.yaml")
    answer = gateway.ready()
    assert (answer["models"], answer["details"]["config"]["source"]) == (["gpt"], "litellm")
    assert len(answer["details"]["config"]["notes"]) == 2
    code, _, err = gateway.end()
    assert code == 0
    assert "config.yaml:3:59: model_list[0].litellm_params.tag_regex: `tag_regex` is not understood" in err
    assert "config.yaml:4:20: general_settings.alerting: `alerting` is not understood" in err


def test_hangup_reads_certificates_again(serve, tmp_path):
    for name in ("a.crt", "a.key"):
        (tmp_path / name).write_text("x")
    tls = "server: {tls: {cert_file: a.crt, key_file: a.key}}\n"
    (tmp_path / "ailink.yaml").write_text(tls + LOCAL.format("a"))
    gateway = serve()
    gateway.ready()
    gateway.process.send_signal(signal.SIGHUP)
    gateway.until(lambda: "reload_tls" in gateway.events())
    assert gateway.end()[0] == 0


def test_a_restart_loses_no_connection(serve, tmp_path):
    file = tmp_path / "ailink.yaml"
    file.write_text(LOCAL.format("a"))
    gateway = serve(env={"FAKE_DRAIN_SECONDS": "0.3"})
    pid = gateway.ready()["pid"]
    for round_number in range(1, 3):
        gateway.process.send_signal(signal.SIGUSR2)
        answers = 0
        while gateway.events().count("start") == round_number:
            answers += 1
            # Refused or reset would raise; while nobody accepts, the connection waits.
            assert gateway.ask()["pid"] == pid
        gateway.until(lambda: gateway.ask()["ready"])
        assert answers
    starts = [entry for entry in gateway.journal() if entry["event"] == "start"]
    assert [bool(entry["fds"]) for entry in starts] == [False, True, True]
    assert len({entry["port"] for entry in starts}) == 1
    assert gateway.end()[0] == 0


def test_no_restart_with_a_bad_file(serve, tmp_path):
    file = tmp_path / "ailink.yaml"
    file.write_text(LOCAL.format("a"))
    gateway = serve()
    gateway.ready()
    file.write_text("modles: []\n")
    gateway.until(lambda: gateway.ask()["details"]["config"]["errors"])
    gateway.process.send_signal(signal.SIGUSR2)
    time.sleep(0.3)
    assert gateway.ask()["models"] == ["a"]
    assert "drain" not in gateway.events()
    code, _, err = gateway.end()
    assert (code, "no restart" in err) == (0, True)


# ── what stops a start ───────────────────────────────────────────────────────────────────────────────────


def failed(gateway):
    out, err = gateway.process.communicate(timeout=60)
    assert (gateway.process.returncode, out, "Traceback" in err) == (1, "", False), err
    return err


def test_a_bad_file(serve, tmp_path):
    (tmp_path / "ailink.yaml").write_text("modles: []\nserver: {prot: 1}\n")
    err = failed(serve())
    assert "ailink.yaml:1:1: modles: unknown key" in err
    assert "2 problems; nothing was started." in err
    assert "No such file" in failed(serve("--config", "none.yaml"))


def test_an_unsafe_bind(serve):
    assert "neither `server.tls` nor a `master_key`" in failed(serve("--host", "0.0.0.0"))


def test_a_directory_in_use(serve):
    serve().ready()
    assert "another AILink process uses" in failed(serve())


def test_a_port_in_use(serve, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = serve("--port", str(taken.getsockname()[1]))
        assert "in use" in failed(gateway)
    assert gateway.events()[-1] == "stop"
    assert not (tmp_path / ".ailink" / "shell.sock").exists()


def test_a_lost_encryption_key(serve, tmp_path):
    first = serve()
    first.ready()
    assert first.end()[0] == 0
    (tmp_path / ".ailink" / "encryption.key").unlink()
    assert "restore the file" in failed(serve())


def test_an_unknown_credential(serve, tmp_path):
    text = "models: [{name: m, deployments: [{provider: openai, credential: gone}]}]\n"
    (tmp_path / "ailink.yaml").write_text(text)
    assert "the store has no credential named `gone`" in failed(serve())


# ── the banner ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def banner(monkeypatch):
    """The banner for a server section."""
    monkeypatch.setitem(sys.modules, "ailink._core", __import__("tests.unit.cli.fake_core", fromlist=["x"]))
    from ailink.cli.serve import banner as text  # noqa: PLC0415
    from ailink.serve import Started  # noqa: PLC0415

    def banner(variable=None, master=None, **server):
        config = Config(server=Server(**server), data_dir="/d d", master_key=master)
        return text(Started(config=config, source="ailink", port=4000, seconds=0.1), variable)

    return banner


def test_addresses(banner):
    assert "http://127.0.0.1:4000/docs" in banner()
    assert "http://127.0.0.1:4000/docs" in banner(host="0.0.0.0")
    assert "http://[::1]:4000/docs" in banner(host="::")
    assert "https://10.0.0.1:4000/docs" in banner(host="10.0.0.1", tls=Tls(cert_file="a", key_file="b"))
    assert "curl --unix-socket /run/a.sock http://localhost/v1" in banner(port=None, uds="/run/a.sock")


def test_the_banner_never_shows_a_key(banner):
    master = Secret("sk-Zp3bq7Xw9Ld2Vn6Rk1")
    assert "$(cat '/d d/admin.key')" in banner()
    assert "Bearer $AILINK_MASTER_KEY" in banner(master.reveal(), master)
    assert "Bearer YOUR_MASTER_KEY" in banner("another", master)
    assert not any(
        master.reveal() in text for text in (banner(), banner(master.reveal(), master), banner(None, master))
    )
