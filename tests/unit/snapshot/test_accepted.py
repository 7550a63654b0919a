"""What passes the checks of the configuration, the data plane takes."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.config.test_robust import ENV, OURS, THEIRS, changed

from ailink import _core, pricing
from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.config.schema import Config
from ailink.providers import Registry
from ailink.snapshot.compile import Inputs, compile_snapshot
from ailink.snapshot.options import Process, compile_options

QUICKLY = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    """Sends what a file comes to, if it passes the checks, to a real data plane that is not started."""
    directory = tmp_path_factory.mktemp("plane")
    file = directory / "ailink.yaml"
    registry = Registry.builtin()
    process = Process(shell_socket=str(directory / "s"), pepper=bytes(range(32)), fds=(), memory_bytes=2**30)
    plane = _core.Plane(msgspec.msgpack.encode(compile_options(Config(data_dir=str(directory)), process)))
    inputs = Inputs(registry=registry, catalogue=pricing.load(), env=ENV, mock_url="http://127.0.0.1:7")

    def accepted(tree):
        file.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
        try:
            config = loader.load(file, registry, ENV).config
        except ConfigError:
            return
        compiled = compile_snapshot(config, inputs, 0)
        plane.push_credentials(msgspec.msgpack.encode(compiled.secrets))
        plane.publish(msgspec.msgpack.encode(compiled.snapshot))

    yield accepted
    plane.stop()


@QUICKLY
@given(tree=st.one_of(changed(OURS), changed(THEIRS)))
def test_changed_files(accepted, tree):
    accepted(tree)


URLS = st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}/{path}",
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[A-Za-z0-9_.-]{1,6}|\[[0-9a-f:.]{2,6}\]|[0-9.]{5,9}", fullmatch=True),
    st.sampled_from(["", ":80", ":0", ":", ":70000"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=4),
)
TOKENS = st.from_regex(r"[A-Za-z0-9!.~_-]{1,6}", fullmatch=True)


@QUICKLY
@given(
    provider=st.fixed_dictionaries(
        {
            "dialect": st.just("openai"),
            "base_url": URLS,
            "headers": st.dictionaries(TOKENS, st.text(max_size=5), max_size=2),
            "operations": st.fixed_dictionaries({"chat": st.text(max_size=4).map(lambda text: f"/{text}")}),
            "auth": st.fixed_dictionaries(
                {"scheme": st.sampled_from(["header", "query", "bearer"]), "name": TOKENS}
            ),
            "api_key": st.text(min_size=1, max_size=6),
        }
    ),
    name=st.text(min_size=1, max_size=6),
    weight=st.integers(1, 1_000_000),
)
def test_hostile_providers(accepted, provider, name, weight):
    deployment = {"provider": "own", "model": name, "weight": weight}
    accepted({"providers": {"own": provider}, "models": [{"name": name, "deployments": [deployment]}]})
