"""Official clients, unchanged, in environments of their own: chat, streams, tools, structured output, errors.

The environments are made once, in a cache outside the repository, by pip and npm; without a network and a
cache these tests are skipped.
"""

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.harness import Gateway, MockProvider, make_config, make_deployment, make_model
from tests.harness.certificates import write_pair

SCRIPTS = Path(__file__).parents[1] / "clients"
CACHE = Path(os.environ.get("AILINK_TEST_CACHE") or Path.home() / ".cache" / "ailink-tests")
PYTHON = {
    "sdks.py": ("mistralai==3.7.0", "groq==1.7.0", "langchain-openai==1.7.3", "langchain-anthropic==1.7.7"),
    "crew.py": ("crewai==1.15.30",),
    "llama.py": ("llama-index-llms-openai-like==0.8.1", "llama-index-llms-openai==0.8.3", "openai==2.54.0"),
}
NODE = "node@24.21.0"
JAVASCRIPT = (
    "openai@7.57.0",
    "@anthropic-ai/sdk@1.12.0",
    "@google/genai@3.1.0",
    "ai@7.0.173",
    "@ai-sdk/openai@4.0.118",
    "@ai-sdk/anthropic@4.0.105",
    "zod@4.6.7",
)
INSTALLED = "installed"


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    trip = "text=%7B%22place%22%3A%22Oslo%22%2C%22days%22%3A2%7D"
    config = make_config(
        make_model("gpt", make_deployment(provider)),
        make_model("json", make_deployment(provider, trip)),
        make_model("claude", make_deployment(provider, dialect="anthropic")),
        make_model("gem", make_deployment(provider, dialect="gemini")),
        make_model("vectors", make_deployment(provider, dialect="cohere")),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def environment(
    name: str, wanted: tuple[str, ...], *commands: list[str], env: dict[str, str] | None = None
) -> Path:
    """A directory in which `commands` have been run for what is `wanted`."""
    digest = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{digest}"
    if (place / INSTALLED).exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for command in commands:
        made = subprocess.run(
            command, cwd=place, env=env, capture_output=True, text=True, check=False, timeout=600
        )
        if made.returncode != 0:
            pytest.skip(f"{command[0]} cannot install {', '.join(wanted)}: {made.stderr[-300:]}")
    (place / INSTALLED).touch()
    return place


def run(gateway: Gateway, program: Path, script: Path) -> list[str]:
    """The clients that a script says have passed."""
    command = [str(program), str(script), gateway.url, gateway.mint().secret]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout.split()


@pytest.mark.parametrize(
    ("script", "clients"),
    [
        ("sdks.py", ["mistral", "groq_client", "langchain_openai", "langchain_anthropic"]),
        ("llama.py", ["llama_index"]),
        ("crew.py", ["crewai"]),
    ],
)
def test_python(gateway: Gateway, script: str, clients: list[str]) -> None:
    wanted = PYTHON[script]
    make = [sys.executable, "-m", "venv", "venv"]
    place = environment("python", wanted, make, ["venv/bin/pip", "install", "-q", *wanted])
    assert run(gateway, place / "venv/bin/python", SCRIPTS / script) == clients


@pytest.fixture(scope="module")
def javascript() -> Path:
    """Where the clients in JavaScript and their Node are."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    quiet = ["--no-audit", "--no-fund", "--silent"]
    # The clients of today need a newer Node than distributions have; npm then chooses for the one it runs in.
    path = {**os.environ, "PATH": f"node_modules/.bin:{os.environ['PATH']}"}
    return environment(
        "javascript",
        (NODE, *JAVASCRIPT),
        ["npm", "init", "-y"],
        ["npm", "install", *quiet, NODE],
        ["npm", "install", *quiet, *JAVASCRIPT],
        env=path,
    )


def run_in_node(gateway: Gateway, place: Path, name: str) -> list[str]:
    # Modules are looked for from where the script stands.
    script = place / name
    shutil.copy(SCRIPTS / name, script)
    return run(gateway, place / "node_modules/.bin/node", script)


def test_javascript(gateway: Gateway, javascript: Path) -> None:
    expected = ["openai", "anthropic", "google", "vercelOpenai", "vercelAnthropic"]
    assert run_in_node(gateway, javascript, "sdks.mjs") == expected


def test_realtime_in_javascript(
    provider: MockProvider, javascript: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, private = write_pair(tmp_path)
    tls = {"cert_file": str(certificate), "key_file": str(private)}
    config = make_config(make_model("gpt", make_deployment(provider)), server={"tls": tls})
    gateway = Gateway(tmp_path / "gateway", config)
    gateway.http.close()
    gateway.url = f"https://127.0.0.1:{gateway.port}"
    context = ssl.create_default_context(cafile=str(certificate))
    gateway.http = httpx.Client(base_url=gateway.url, verify=context, timeout=30)
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(certificate))
    with gateway:
        expected = ["OpenAIRealtimeWS", "OpenAIRealtimeWebSocket"]
        assert run_in_node(gateway, javascript, "realtime.mjs") == expected
