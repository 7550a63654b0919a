"""Whatever stands in a file: it loads, or ConfigError says why. Nothing else, ever."""

import contextlib
import copy
import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink import pricing
from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.snapshot.compile import Inputs, compile_snapshot
from ailink.snapshot.options import Process, compile_options

OURS = {
    "server": {
        "host": "127.0.0.1",
        "port": 1,
        "uds": "a",
        "tls": None,
        "limits": {"body_bytes": "1MiB"},
        "drain": {"delay": "1s"},
    },
    "master_key": "${KEY}",
    "database_url": "sqlite:///a.db",
    "providers": {
        "own": {
            "dialect": "openai_chat",
            "base_url": "http://h/v1",
            "api_key": "none",
            "operations": {"chat": "/c"},
        },
        "openai": {"api_key": "k", "headers": {"x": "y"}, "auth": {"scheme": "bearer"}},
    },
    "models": [
        {
            "name": "a",
            "deployments": [
                {"provider": "own", "weight": 2, "price": {"input_per_million": "0.1"}},
                {"provider": "openai"},
            ],
            "fallbacks": ["b"],
            "timeouts": {"idle": "5s"},
            "aliases": ["c"],
        },
        {"name": "b", "deployments": [{"provider": "mock"}]},
    ],
    "cache": {"enabled": True},
    "include": [],
}
THEIRS = {
    "model_list": [
        {
            "model_name": "a",
            "litellm_params": {
                "model": "openai/x",
                "api_key": "os.environ/KEY",
                "api_base": "http://h/v1",
                "weight": 2,
                "timeout": 3,
                "num_retries": 2,
                "input_cost_per_token": 1e-6,
                "extra_headers": {"x": "y"},
                "litellm_credential_name": "c",
            },
            "model_info": {"id": "i", "mode": "chat"},
        },
        {"model_name": "b", "litellm_params": {"model": "claude-x", "custom_llm_provider": "anthropic"}},
    ],
    "credential_list": [{"credential_name": "c", "credential_values": {"api_key": "k"}}],
    "litellm_settings": {
        "fallbacks": [{"a": ["b"]}],
        "cache": True,
        "cache_params": {"type": "local", "ttl": 5},
        "request_timeout": 9,
    },
    "router_settings": {
        "model_group_alias": {"n": {"model": "a"}},
        "default_fallbacks": ["b"],
        "num_retries": 1,
    },
    "general_settings": {"master_key": "os.environ/KEY"},
    "environment_variables": {"A": "b"},
}
ENV = {"KEY": "sk-Zp3bq7Xw9Ld2Vn6Rk1", "EMPTY": ""}
WORDS = [
    "",
    "a",
    "b",
    "none",
    "null",
    "${KEY}",
    "${EMPTY}",
    "${NO}",
    "${",
    "os.environ/KEY",
    "os.environ/",
    "openai/x",
    "/",
    "*",
    "openai",
    "mock",
    "{mock}",
    "{region}",
    "http://",
    "http://h:99999",
    "http://[",
    "5s",
    "1e999",
    "-1",
    "0.1",
    "true",
    "é\n",
]
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=4)
)
VALUE = st.recursive(
    LEAF,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(WORDS), v, max_size=3),
    max_leaves=5,
)


def paths(value, here=()):
    """Every place in a tree."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*here, key))


@st.composite
def changed(draw, original):
    tree = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(paths(tree), key=str)))
        if not path:
            continue
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(parent, dict) and draw(st.booleans()):
            value = parent.pop(path[-1])
            parent[draw(st.sampled_from([*WORDS, "provider", "nmae", "price", "timeouts"]))] = value
        else:
            parent[path[-1]] = draw(VALUE)
    return tree


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tree=st.one_of(changed(OURS), changed(THEIRS)))
def test_any_change_loads_or_is_refused(registry, tmp_path_factory, tree):
    file = tmp_path_factory.getbasetemp() / "changed.yaml"
    file.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    loaded, refusal = None, None
    try:
        loaded = loader.load(file, registry, ENV)
    except ConfigError as error:
        refusal = error
    if loaded is None:
        assert any(problem.severity == "error" for problem in refusal.problems)
        assert ENV["KEY"] not in str(refusal)
        return
    # What passed the checks compiles.
    inputs = Inputs(registry=registry, catalogue=pricing.load(), env=ENV)
    msgspec.msgpack.encode(compile_snapshot(loaded.config, inputs, 0).snapshot)
    process = Process(shell_socket="s", pepper=b"p" * 32, fds=(), memory_bytes=1)
    msgspec.msgpack.encode(compile_options(loaded.config, process))


@pytest.mark.parametrize("original", [OURS, THEIRS])
def test_the_originals_load(registry, tmp_path, original):
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps(original))
    assert loader.load(file, registry, ENV).config.models


@given(st.binary(max_size=300))
def test_any_bytes_load_or_are_refused(registry, tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(data)
    with contextlib.suppress(ConfigError):
        loader.load(file, registry, {})
