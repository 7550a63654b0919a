"""Every command, with a stand-in for the extension where one is needed."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import typer
from tests.unit.cli import fake_core
from typer.testing import CliRunner

from ailink.cli.app import build
from ailink.cli.init import TEMPLATE

COMMANDS = (
    "serve",
    "init",
    "check",
    "keys",
    "models",
    "providers",
    "stages",
    "mock",
    "bench",
    "migrate",
    "doctor",
    "version",
)
ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
GOOD = "models: [{name: m, deployments: [{provider: mock}]}]\n"


@pytest.fixture
def ailink(tmp_path, monkeypatch):
    """Runs the command in an empty directory, with the stand-in for the extension."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ailink._core", fake_core)
    for name in [name for name in os.environ if name.startswith(("AILINK_", "FAKE_"))]:
        monkeypatch.delenv(name)

    def ailink(*arguments, env=None):
        return CliRunner().invoke(build(), arguments, env={"COLUMNS": "200", "NO_COLOR": "1"} | (env or {}))

    interrupt = signal.getsignal(signal.SIGINT)
    yield ailink
    # `mock` and `bench` give it back to the system.
    signal.signal(signal.SIGINT, interrupt)


def test_help_names_every_command(ailink):
    done = ailink("--help")
    assert done.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout
        assert ailink(command, "--help").exit_code in {0, 7}


def commands(command, name="ailink"):
    """All commands with the names they are called by."""
    if not isinstance(command, typer.core.TyperGroup):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from commands(inner, f"{name} {part}")


def test_who_asks_a_gateway_takes_the_same_options():
    found = {}
    for name, command in commands(typer.main.get_command(build())):
        options = {option for parameter in command.params for option in parameter.opts}
        if "--url" in options:
            found[name] = {"--key", "--config", "--json"} - options
    assert len(found) >= 30
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_wrong_usage_is_exit_code_2(ailink):
    assert ailink("srve").exit_code == 2
    assert ailink("serve", "--port", "70000").exit_code == 2
    assert ailink("keys", "create", "--metadata", "[1]").exit_code == 2


def test_importing_is_light():
    code = """
import sys, ailink
print(sorted({m.split('.')[0] for m in sys.modules} & {'msgspec', 'yaml', 'typer'}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_nothing_heavy():
    code = """
import sys
from ailink.cli.app import build
build()
heavy = {'msgspec', 'yaml', 'uvloop', 'granian', 'starlette', 'asyncio'}
print(sorted({m.split('.')[0] for m in sys.modules} & heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ── init and check ───────────────────────────────────────────────────────────────────────────────────────


def test_init_writes_a_file_that_passes(ailink, tmp_path):
    assert "ailink serve" in ailink("init").stdout
    assert ailink("check").exit_code == 0
    again = ailink("init")
    assert (again.exit_code, "--force" in again.stderr) == (1, True)
    assert ailink("init", "--force").exit_code == 0
    assert ailink("init", "no/such/dir.yaml").exit_code == 1
    assert (tmp_path / "ailink.yaml").read_text() == TEMPLATE


def test_everything_the_template_comments_out_is_valid(ailink, tmp_path):
    lines = []
    for line in TEMPLATE.splitlines():
        bare = line.lstrip()
        indent = line[: len(line) - len(bare)]
        code = bare.startswith("# ") and (
            bare[2:].lstrip().startswith("-") or bare[2:].split(":")[0].strip().isidentifier()
        )
        lines.append(indent + bare[2:] if code and ":" in bare else line)
    text = "\n".join(lines)
    assert "gpt-4o-mini" in text
    (tmp_path / "full.yaml").write_text(text)
    (tmp_path / "server.crt").write_text("x")
    (tmp_path / "server.key").write_text("x")
    env = {
        "AILINK_MASTER_KEY": "sk-Zp3bq7Xw9Ld2Vn6Rk1",
        "AILINK_ENCRYPTION_KEY": "kJ8mXw1Zp3bq7Xw9Ld2Vn6Rk1Tt5Yy8Uu0Ii3Oo6Pw4=",
        "OPENAI_API_KEY": "k",
    }
    done = ailink("check", "full.yaml", env=env)
    assert (done.exit_code, done.stdout) == (
        0,
        "ok full.yaml: 2 models, 3 deployments, 1 files (ailink format)\n",
    )


def test_check_prints_problems(ailink, tmp_path):
    (tmp_path / "a.yaml").write_text("modles: []\n")
    done = ailink("check", "a.yaml")
    assert done.exit_code == 1
    assert done.stdout == "error a.yaml:1:1: modles: unknown key `modles`; did you mean `models`?\n"
    shown = json.loads(ailink("check", "a.yaml", "--json").stdout)
    assert shown["ok"] is False
    assert shown["problems"] == [
        {
            "file": "a.yaml",
            "line": 1,
            "column": 1,
            "path": "modles",
            "message": "unknown key `modles`; did you mean `models`?",
            "severity": "error",
        }
    ]


def test_check_of_a_litellm_file(ailink, tmp_path):
    text = "model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k, tag_regex: [a]}}]\n"
    (tmp_path / "config.yaml").write_text(text)
    done = ailink("check", "config.yaml")
    assert done.exit_code == 0
    assert (
        "note  config.yaml:1:76: model_list[0].litellm_params.tag_regex: `tag_regex` is not understood"
        in done.stdout
    )
    assert "litellm format" in done.stdout
    assert ailink("check", "config.yaml", "--strict").exit_code == 1


def test_check_without_a_file(ailink):
    done = ailink("check")
    assert (done.exit_code, "ailink init" in done.stderr) == (1, True)


# ── commands on the extension ────────────────────────────────────────────────────────────────────────────


def test_stages(ailink):
    assert "rust/core/src/stage/relay.rs" in ailink("stages").stdout
    assert json.loads(ailink("stages", "--json").stdout)[0] == {
        "stage": "identify",
        "source": "rust/core/src/stage/identify.rs",
    }


@pytest.mark.parametrize(
    ("arguments", "forwarded"),
    [
        (["mock"], ["provider"]),
        (["mock", "--port", "9", "--help"], ["provider", "--port", "9", "--help"]),
        (["mock", "proxy", "-x"], ["proxy", "-x"]),
        (["bench", "--rate", "5", "http://h"], ["load", "--rate", "5", "http://h"]),
    ],
)
def test_arguments_are_passed_on(ailink, tmp_path, arguments, forwarded):
    done = ailink(*arguments, env={"FAKE_JOURNAL": str(tmp_path / "journal")})
    assert done.exit_code == 7
    assert json.loads((tmp_path / "journal").read_text())["args"] == forwarded


def test_version(ailink):
    assert ailink("version").stdout.startswith("ailink 0.1.0 (extension 0.1.0, debug build; Python 3.")


# ── database and doctor ──────────────────────────────────────────────────────────────────────────────────


def test_migrate(ailink, tmp_path):
    (tmp_path / "ailink.yaml").write_text(GOOD)
    pending = ailink("migrate", "--check")
    assert (pending.exit_code, pending.stdout.startswith("to be applied: 0001")) == (1, True)
    assert not (tmp_path / ".ailink").exists()
    assert ailink("migrate").stdout.startswith("applied: 0001")
    assert "up to date" in ailink("migrate").stdout
    assert ailink("migrate", "--check").exit_code == 0
    (tmp_path / "ailink.yaml").write_text("modles: []\n")
    assert "did you mean" in ailink("migrate").stderr


def test_doctor(ailink, tmp_path):
    (tmp_path / "ailink.yaml").write_text(GOOD + "server: {port: 0}\n")
    found = {row["check"]: row for row in json.loads(ailink("doctor", "--json").stdout)}
    assert set(found) == {
        "Python",
        "extension",
        "configuration",
        "data directory",
        "port",
        "database",
        "disk",
        "open files",
        "clock",
    }
    assert "debug build" in found["extension"]["text"]
    assert found["data directory"]["state"] == "ok"
    assert not (tmp_path / ".ailink").exists()
    assert ailink("migrate").exit_code == 0
    (tmp_path / ".ailink").chmod(0o755)
    done = ailink("doctor")
    assert done.exit_code == 1
    assert "is open to others (mode 0755)" in done.stdout
    (tmp_path / "ailink.yaml").write_text("modles: []\n")
    assert "did you mean" in ailink("doctor").stdout


def test_doctor_asks_the_servers_that_nodes_share(ailink, tmp_path, redis_url, database_url):
    def told(redis, database):
        text = f"redis_url: {redis}\ndatabase_url: {database}\nencryption_key: {ENCRYPTION_KEY}\n"
        (tmp_path / "ailink.yaml").write_text(GOOD + "server: {port: 0, node: 1}\n" + text)
        rows = json.loads(ailink("doctor", "--json").stdout)
        return {row["check"]: (row["state"], row["text"]) for row in rows}

    found = told(redis_url, database_url)
    assert found["Redis"] == ("ok", "answers")
    assert found["database"] == ("ok", "is made at the first start")
    found = told("redis://127.0.0.1:1/0", "postgresql://nobody@127.0.0.1:1/x")
    assert found["Redis"][0] == "warning"
    assert found["database"][0] == "failed"
    assert "the database does not answer" in found["database"][1]


def test_doctor_sees_a_port_in_use(ailink, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    with server:
        (tmp_path / "ailink.yaml").write_text(GOOD + f"server: {{port: {server.server_port}}}\n")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        rows = json.loads(ailink("doctor", "--json").stdout)
        server.shutdown()
    assert [row["state"] for row in rows if row["check"] == "port"] == ["failed"]


# ── keys and models over HTTP ────────────────────────────────────────────────────────────────────────────

KEY = {
    "token": "t" * 64,
    "key_name": "sk-...abcd",
    "key_alias": "team",
    "status": "active",
    "models": ["m"],
    "spend": 0.00015,
    "expires": None,
    "rpm_limit": 5,
    "metadata": {},
}
DEPLOYMENT = {
    "model_name": "m",
    "litellm_params": {"model": "openai/x"},
    "model_info": {
        "id": "abc",
        "weight": 2,
        "input_cost_per_token": 1.5e-7,
        "output_cost_per_token": None,
        "price_version": "config",
    },
}
ANSWERS = {
    "/key/generate": {**KEY, "key": "sk-new"},
    "/key/regenerate": {**KEY, "key": "sk-newer"},
    "/key/list": {"keys": [KEY], "total_count": 60, "current_page": 1, "total_pages": 2},
    "/key/info": {"key": "x", "info": KEY},
    "/key/delete": {"deleted_keys": ["a", "b"]},
    "/key/block": KEY,
    "/key/unblock": KEY,
    "/model/info": {"data": [DEPLOYMENT]},
}


@pytest.fixture
def gateway():
    """A management API that remembers what it was asked; `sk-wrong` is refused."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append((self.command, parts.path, json.loads(body) if body else parse_qs(parts.query)))
            if self.headers["authorization"] == "Bearer sk-wrong":
                self.reply(
                    401, {"error": {"message": "this key is not known", "type": "authentication_error"}}
                )
            elif parts.path == "/text/key/list":
                self.reply(200, "text")
            else:
                self.reply(200, ANSWERS[parts.path])

        def do_POST(self):
            self.do_GET()

        def reply(self, status, value):
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server.asked = asked
        server.env = {"AILINK_URL": f"http://127.0.0.1:{server.server_port}", "AILINK_KEY": "sk-admin"}
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "asked", "shown"),
    [
        (["keys", "create"], ("POST", "/key/generate", {}), "sk-new\n"),
        (
            [
                "keys",
                "create",
                "--alias",
                "a",
                "--model",
                "m",
                "--model",
                "n-*",
                "--duration",
                "30d",
                "--rpm",
                "5",
                "--max-parallel",
                "2",
                "--ip",
                "10.0.0.0/8",
                "--route",
                "/v1/x",
                "--user",
                "u",
                "--metadata",
                '{"k": 1}',
            ],
            (
                "POST",
                "/key/generate",
                {
                    "key_alias": "a",
                    "models": ["m", "n-*"],
                    "duration": "30d",
                    "rpm_limit": 5,
                    "max_parallel_requests": 2,
                    "allowed_ips": ["10.0.0.0/8"],
                    "allowed_routes": ["/v1/x"],
                    "user_id": "u",
                    "metadata": {"k": 1},
                },
            ),
            "sk-new\n",
        ),
        (
            ["keys", "list", "--alias", "te", "--status", "active"],
            (
                "GET",
                "/key/list",
                {
                    "page": ["1"],
                    "size": ["50"],
                    "return_full_object": ["true"],
                    "search": ["te"],
                    "status": ["active"],
                },
            ),
            "page 1 of 2, 60 keys",
        ),
        (["keys", "info", "sk-x"], ("GET", "/key/info", {"key": ["sk-x"]}), "rpm_limit"),
        (
            ["keys", "delete", "sk-a", "b" * 64],
            ("POST", "/key/delete", {"keys": ["sk-a", "b" * 64]}),
            "deleted: 2",
        ),
        (["keys", "block", "sk-a"], ("POST", "/key/block", {"key": "sk-a"}), "blocked"),
        (["keys", "unblock", "sk-a"], ("POST", "/key/unblock", {"key": "sk-a"}), "unblocked"),
        (["keys", "regenerate", "sk-a"], ("POST", "/key/regenerate", {"key": "sk-a"}), "sk-newer\n"),
        (["models"], ("GET", "/model/info", {}), "0.15"),
        (["models", "list"], ("GET", "/model/info", {}), "openai/x"),
    ],
)
def test_what_is_asked_and_shown(ailink, gateway, arguments, asked, shown):
    done = ailink(*arguments, env=gateway.env)
    assert (done.exit_code, done.stderr.replace("Keep it: it cannot be shown again.\n", "")) == (0, "")
    assert gateway.asked == [asked]
    assert shown in done.stdout


def test_an_alias_is_looked_up(ailink, gateway):
    assert ailink("keys", "block", "team", env=gateway.env).exit_code == 0
    assert gateway.asked == [
        ("GET", "/key/list", {"key_alias": ["team"], "return_full_object": ["true"]}),
        ("POST", "/key/block", {"key": KEY["token"]}),
    ]


@pytest.mark.parametrize(
    "command",
    [["keys", "create"], ["keys", "list"], ["keys", "info", "sk-x"], ["keys", "block", "sk-a"], ["models"]],
)
def test_json(ailink, gateway, command):
    assert json.loads(ailink(*command, "--json", env=gateway.env).stdout)


def test_refusals_are_one_line(ailink, gateway):
    done = ailink("keys", "list", "--key", "sk-wrong", env=gateway.env)
    assert (done.exit_code, done.stderr) == (1, "error this key is not known (HTTP 401)\n")
    done = ailink("keys", "list", "--url", gateway.env["AILINK_URL"] + "/text", env=gateway.env)
    assert "something else than JSON" in done.stderr
    done = ailink("keys", "list", "--url", "http://127.0.0.1:1", env=gateway.env)
    assert "is `ailink serve` running?" in done.stderr
    done = ailink("keys", "list", "--url", "localhost", env=gateway.env)
    assert "not an address" in done.stderr


def test_the_configuration_says_whom_to_ask(ailink, gateway, tmp_path):
    text = f"server: {{port: {gateway.server_port}}}\n" + GOOD
    (tmp_path / "ailink.yaml").write_text(text)
    assert "start the gateway once" in ailink("keys", "list").stderr
    key = tmp_path / ".ailink" / "admin.key"
    key.parent.mkdir()
    key.write_text("sk-admin\n")
    key.chmod(0o600)
    assert ailink("keys", "list").exit_code == 0
    (tmp_path / "ailink.yaml").write_text("master_key: sk-Zp3bq7Xw9Ld2Vn6Rk1\n" + text)
    assert ailink("keys", "list").exit_code == 0
    (tmp_path / "ailink.yaml").write_text("modles: []\n")
    assert "so give --url and --key" in ailink("keys", "list").stderr
