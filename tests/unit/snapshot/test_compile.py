"""From a configuration to the snapshot: placement, credentials, prices, identities."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink import pricing
from ailink.config.schema import Config, Deployment, Model
from ailink.providers import Registry
from ailink.providers.discovery import Found
from ailink.snapshot import model as wire
from ailink.snapshot.compile import CompileError, Inputs, compile_snapshot, needs_mock
from ailink.snapshot.options import Process, compile_options

TWO = """\
providers:
  openai: {api_key: sk-shared}
  local: {dialect: openai_chat, base_url: "http://127.0.0.1:9000/v1/", api_key: none, headers: {X-A: b}}
models:
  - name: gpt-4o-mini
    deployments:
      - {provider: openai, model: gpt-4o-mini, weight: 3, headers: {X-B: c}, timeouts: {idle: 7s}}
      - {provider: openai, api_key: sk-own}
      - {provider: local, model: other}
    fallbacks: [nick]
    timeouts: {connect: 1s, idle: 2s}
    retries: 1
  - name: other
    aliases: [nick, name]
    mode: embedding
    owned_by: me
    price: {input_per_million: 0.15, per_request: 0.000001}
    deployments:
      - {provider: anthropic, credential: main, price: {output_per_million: 3}}
      - {provider: local}
"""


def test_the_whole(compiled):
    done = compiled(TWO)
    first, second, local, anthropic, last = done.snapshot.deployments
    assert (first.provider, first.model, first.base_url) == (
        "openai",
        "gpt-4o-mini",
        "https://api.openai.com/v1",
    )
    assert (first.credential, second.credential) == ("provider:openai", f"deployment:{second.id}")
    assert done.secrets == {"provider:openai": b"sk-shared", f"deployment:{second.id}": b"sk-own"}
    assert (first.auth.scheme, first.auth.name, first.weight) == ("bearer", "authorization", 3)
    assert first.headers == {"x-b": "c"}
    assert msgspec.to_builtins(first.timeouts) == {
        "connect_ms": 1000, "first_byte_ms": 120_000, "idle_ms": 7000, "total_ms": 3_600_000,
    }  # fmt: skip
    assert second.timeouts.idle_ms == 2000
    assert (local.base_url, local.auth.scheme, local.credential) == ("http://127.0.0.1:9000/v1", "none", None)
    assert (local.headers, local.provider) == ({"x-a": "b"}, "local")
    assert local.operations["rerank"] == "/rerank"
    assert (anthropic.dialect, anthropic.model, anthropic.credential) == (
        "anthropic",
        "other",
        "credential/main",
    )
    assert (anthropic.auth.scheme, anthropic.auth.name) == ("header", "x-api-key")
    assert anthropic.headers == {"anthropic-version": "2023-06-01"}
    assert done.stored == {"main"}
    assert last.model == "other"
    one, two = done.snapshot.models
    assert (one.name, one.deployments, one.fallbacks) == ("gpt-4o-mini", [0, 1, 2], ["other"])
    assert (one.routing.retries.server_error, one.routing.retries.bad_request) == (1, 0)
    assert (one.owned_by, one.mode, one.created) == ("openai", "chat", 1_700_000_000)
    assert (two.deployments, two.owned_by, two.mode) == ([3, 4], "me", "embedding")
    assert done.snapshot.aliases == {"nick": "other", "name": "other"}
    assert b"sk-" not in msgspec.msgpack.encode(done.snapshot)


def test_prices(compiled):
    first, _, local, anthropic, last = compiled(TWO).snapshot.deployments
    catalogue = pricing.load()
    listed = catalogue.price("openai", "gpt-4o-mini")
    assert (
        (first.price.rates.input, first.price.rates.output)
        == (listed.input, listed.output)
        == (15 * 10**10, 6 * 10**11)
    )
    assert first.price_version == catalogue.version
    assert (local.price, local.price_version) == (None, "")
    assert (anthropic.price.rates.input, anthropic.price.rates.output, anthropic.price_version) == (
        None,
        3 * 10**12,
        "config",
    )
    assert (last.price.rates.input, last.price.per_request, last.price_version) == (
        15 * 10**10,
        10**6,
        "config",
    )


def test_keys_from_the_environment(compiled):
    done = compiled("models: [{name: m, deployments: [{provider: groq}]}]", {"GROQ_API_KEY": "gsk"})
    assert done.secrets == {"env:GROQ_API_KEY": b"gsk"}


def test_optional_keys(compiled):
    text = "models: [{name: m, deployments: [{provider: ollama}]}]"
    (deployment,) = compiled(text).snapshot.deployments
    assert (deployment.credential, deployment.auth.scheme) == (None, "none")
    (deployment,) = compiled(text, {"OLLAMA_API_KEY": "k"}).snapshot.deployments
    assert (deployment.credential, deployment.auth.scheme) == ("env:OLLAMA_API_KEY", "bearer")


def test_a_row_can_be_changed_by_the_file(compiled):
    text = """\
providers:
  groq:
    base_url: https://groq.example/v9
    api_key: k
    auth: {scheme: header, name: X-Groq}
    operations: {chat: /c}
    stream_usage: none
    pool_idle: 9s
    price_family: openai
models: [{name: m, deployments: [{provider: groq, model: gpt-4o-mini}]}]
"""
    (deployment,) = compiled(text).snapshot.deployments
    assert (deployment.base_url, deployment.operations) == ("https://groq.example/v9", {"chat": "/c"})
    assert (deployment.auth.scheme, deployment.auth.name) == ("header", "x-groq")
    assert (deployment.stream_usage, deployment.pool_idle_ms) == ("none", 9000)
    assert deployment.price.rates.input == 15 * 10**10


def test_a_custom_anthropic_provider_does_not_take_anthropics_key(compiled):
    text = """\
providers: {mine: {dialect: anthropic_messages, base_url: "http://127.0.0.1:9"}}
models: [{name: m, deployments: [{provider: mine}]}]
"""
    done = compiled(text, {"ANTHROPIC_API_KEY": "secret"})
    assert done.secrets == {}
    assert done.snapshot.deployments[0].auth.scheme == "none"


def test_regions(compiled):
    text = """\
providers: {r: {dialect: openai, base_url: "https://{region}.x.example/v1"}}
models: [{name: m, deployments: [{provider: r, region: eu-1}, {provider: r, region: us-1}]}]
"""
    assert [d.base_url for d in compiled(text).snapshot.deployments] == [
        "https://eu-1.x.example/v1",
        "https://us-1.x.example/v1",
    ]


def test_the_mock(compiled, config, inputs):
    text = "models: [{name: m, deployments: [{provider: mock}, {provider: mock_anthropic}]}]"
    done = compiled(text, mock_url="http://127.0.0.1:7")
    assert [d.base_url for d in done.snapshot.deployments] == ["http://127.0.0.1:7/v1", "http://127.0.0.1:7"]
    assert needs_mock(config(text), inputs)
    assert not needs_mock(config("models: [{name: m, deployments: [{provider: ollama}]}]"), inputs)


def test_a_credential_that_is_not_in_the_store(compiled):
    text = "models: [{name: m, deployments: [{provider: openai, credential: gone}]}]"
    assert compiled(text, stored=["gone"]).stored == {"gone"}
    with pytest.raises(CompileError, match="no credential named `gone`"):
        compiled(text, stored=["other"])


def test_identities_are_stable(compiled):
    text = "models: [{name: m, deployments: [%s]}]"
    a, b, twin = (
        "{provider: openai, api_key: k1}",
        "{provider: ollama}",
        "{provider: openai, api_key: k2, weight: 9}",
    )

    def ids(*deployments):
        return [d.id for d in compiled(text % ", ".join(deployments)).snapshot.deployments]

    one = ids(a, b, twin)
    assert len(set(one)) == 3
    assert all(len(identity) == 16 for identity in one)
    assert ids(b, a, twin) == [one[1], one[0], one[2]]
    assert ids(a) == one[:1]
    changed = (
        "{provider: openai, api_key: other, weight: 5, price: {input_per_million: 1}, timeouts: {idle: 1s}}"
    )
    assert ids(changed) == one[:1]
    assert ids("{provider: openai, api_key: k1, model: x}") != one[:1]
    assert ids("{provider: openai, api_key: k1, id: mine}", a) == ["mine", one[0]]


NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), min_size=1, max_size=8
)


@settings(max_examples=50)
@given(st.lists(st.tuples(NAMES, st.integers(1, 4)), max_size=6, unique_by=lambda pair: pair[0]))
def test_indices_and_identities_hold_together(models):
    config = Config(
        models=tuple(
            Model(name=name, deployments=tuple(Deployment(provider="mock") for _ in range(number)))
            for name, number in models
        )
    )
    given_inputs = Inputs(registry=Registry.builtin(), catalogue=pricing.load(), env={})
    snapshot = compile_snapshot(config, given_inputs, 0).snapshot
    assert [model.name for model in snapshot.models] == [name for name, _ in models]
    assert [index for model in snapshot.models for index in model.deployments] == list(
        range(len(snapshot.deployments))
    )
    assert len({deployment.id for deployment in snapshot.deployments}) == len(snapshot.deployments)


def test_five_hundred_models_are_quick_enough_to_reload(compiled):
    models = "\n".join(f"  - {{name: m{n}, deployments: [{{provider: ollama}}]}}" for n in range(500))
    assert len(compiled("models:\n" + models).snapshot.models) == 500


PROCESS = Process(shell_socket="/d/shell.sock", pepper=b"p" * 32, fds=(), memory_bytes=8 * 2**30)


def test_options_from_defaults(config):
    options = msgspec.to_builtins(compile_options(config(""), PROCESS), builtin_types=(bytes,))
    data_dir = options.pop("data_dir")
    assert data_dir.endswith("/.ailink")
    assert options == {
        "threads": 0,
        "node": 0,
        "runtime": "per_core",
        "shell_socket": "/d/shell.sock",
        "pepper": b"p" * 32,
        "listen": {"host": "127.0.0.1", "port": 4000, "uds": None, "fds": []},
        "tls": None,
        "limits": {
            "header_bytes": 65_536,
            "header_count": 100,
            "header_timeout_ms": 10_000,
            "body_bytes": 2**28,
            "body_idle_ms": 30_000,
            "keepalive_idle_ms": 75_000,
            "write_stall_ms": 60_000,
            "connections": 16_384,
            "requests_in_flight": 4096,
            "body_bytes_in_flight": 2**31,
            "h2_streams": 100,
            "shell_in_flight": 64,
            "session_idle_ms": 600_000,
            "session_message_bytes": 16 * 1024 * 1024,
        },
        "drain": {"delay_ms": 0, "timeout_ms": 600_000},
        "trusted_proxies": [],
        "shared_limits": False,
        "shared_store": False,
        "repeats": None,
        "ledger": {"segment_slots": 4_096, "max_bytes": 2**30, "flush_ms": 250},
    }


def test_options_from_the_file(config):
    text = """\
master_key: sk-Zp3bq7Xw9Ld2Vn6Rk1
server:
  host: 0.0.0.0
  port: 0
  uds: a.sock
  threads: 2
  runtime: work_stealing
  node: 7
  trusted_proxies: [10.0.0.0/8, "fd00::/8"]
  limits: {body_bytes_in_flight: 1GiB, connections: 10}
  drain: {timeout: 30s}
"""
    options = compile_options(config(text), msgspec.structs.replace(PROCESS, fds=(3, 4)))
    assert (options.listen.host, options.listen.port, options.listen.fds) == ("0.0.0.0", 0, [3, 4])
    assert options.listen.uds.endswith("/a.sock")
    assert (options.threads, options.runtime, options.node) == (2, "work_stealing", 7)
    assert options.trusted_proxies == ["10.0.0.0/8", "fd00::/8"]
    assert (options.limits.body_bytes_in_flight, options.limits.connections) == (2**30, 10)
    # Load balancers watch what is not loopback.
    assert (options.drain.delay_ms, options.drain.timeout_ms) == (10_000, 30_000)
    options = compile_options(config("server: {port: ~, uds: a.sock}"), PROCESS)
    assert (options.listen.host, options.listen.port) == ("", 0)


def test_options_of_several_nodes(config, tmp_path):
    nodes = "{address}\nserver: {{node: 1}}\ndatabase_url: postgresql://u@h/d\ncoordination: {{timeout: 1s}}"

    def repeats(address: str) -> wire.Repeats | None:
        return compile_options(config(nodes.format(address=f"redis_url: {address}")), PROCESS).repeats

    plain = wire.Repeats(url="redis://:p@h:1/2", authority=None, timeout_ms=1_000)
    assert repeats("redis://:p@h:1/2?socket_timeout=1") == plain
    file = tmp_path / "authority.pem"
    file.write_text("PEM")
    trusting = repeats(f"rediss://h:1/2?ssl_ca_certs={file}")
    assert trusting == wire.Repeats(url="rediss://h:1/2", authority="PEM", timeout_ms=1_000)


def test_wildcards_bring_what_is_known_behind_them(compiled, inputs):
    text = """
models:
  - name: "openai/*"
    deployments: [{provider: openai, api_key: k}, {provider: azure, account: a, api_key: k}]
  - name: "o-*"
    price: {input_per_million: 1}
    deployments: [{provider: openai, model: "gpt-4o-*", api_key: k}]
"""
    done = compiled(text, today="2026-11-22")
    assert (done.snapshot.models, done.snapshot.deployments) == ([], [])
    both, short = done.snapshot.wildcards
    assert both.open == [0, 1]
    assert both.deployments[1].operations["chat"].startswith("/openai/deployments/%2A/chat/")
    known = {one.part: one for one in both.known}
    assert [at.deployment for at in known["gpt-4o-mini"].places] == [0, 1]
    # OpenAI's price page: 0.15 US dollars per million tokens.
    assert known["gpt-4o-mini"].places[0].price.rates.input == 150_000_000_000
    assert (known["gpt-4o-mini"].listed, known["gpt-4o-mini"].mode) == (True, "chat")
    assert known["text-embedding-3-small"].mode == "embedding"
    assert not known["eu/gpt-4o-2024-08-06"].listed, "a price of what has a name of its own"
    assert not any("*" in part for part in known)
    mini = next(one for one in short.known if one.part == "mini")
    assert mini.places[0].price.rates.input == 10**12
    assert mini.places[0].price_version == "config"


def test_what_servers_have_is_all_that_is_served(compiled):
    place = '{provider: vllm, base_url: "http://h:1/v1", discover: true}'
    text = f'models: [{{name: "local/*", deployments: [{place}]}}]'
    before = compiled(text)
    (asked,) = before.asked
    assert (asked.base_url, asked.every) == ("http://h:1/v1", 60_000)
    assert "authorization" not in asked.headers
    assert before.snapshot.wildcards[0].open == [0]
    found = (Found(name="qwen", context=4096), Found(name="embed", embeds=True))
    (wildcard,) = compiled(text, discovered={asked.id: found}).snapshot.wildcards
    assert wildcard.open == []
    assert {one.part: one.mode for one in wildcard.known} == {"qwen": "chat", "embed": "embedding"}


def test_own_paths_of_providers(compiled):
    done = compiled(
        "providers: {openai: {api_key: k, pass_through: true}}\nrouting: {default_fallbacks: [m]}\n"
        "models: [{name: m, deployments: [{provider: ollama}]}]"
    )
    (place,) = done.snapshot.pass_through
    assert (place.names[0], place.head, place.prefix) == ("openai", "pass_through/openai/", "v1/")
    (wildcard,) = done.snapshot.wildcards
    assert wildcard.deployments[0].operations == {"pass_through": "/"}
    assert (wildcard.model.fallbacks, wildcard.model.cache.mode) == ([], "off")
    assert not any(one.listed for one in wildcard.known)
