"""The configuration file as a whole: values, every problem with its place, includes."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink.config import loader, yaml12
from ailink.config.loader import Overrides
from ailink.config.problems import ConfigError, nearest, render_path
from ailink.config.schema import Config
from ailink.config.secret import Secret

ISSUE_EXAMPLE = """\
server: {host: 127.0.0.1, port: 4000}
master_key: ${AILINK_MASTER_KEY}
database_url: sqlite:///ailink.db
providers:                              # optional: shared credentials, custom providers
  local: {dialect: openai_chat, base_url: "http://127.0.0.1:9000/v1", api_key: none}
models:
  - name: gpt-4o-mini                   # what clients ask for
    deployments:
      - {provider: openai, model: gpt-4o-mini, api_key: "${OPENAI_API_KEY}", weight: 2}
      - {provider: local, model: gpt-4o-mini}
    price: {input_per_million: 0.15, output_per_million: 0.60}   # overrides the catalogue
    fallbacks: [other-model]
    timeouts: {connect: 5s, first_byte: 60s, idle: 60s, total: 600s}
    retries: 2
  - name: other-model
    deployments: [{provider: local}]
"""
MASTER = "sk-Zp3bq7Xw9Ld2Vn6Rk1"
MOCK = "models: [{name: m, deployments: [{provider: mock}]}]\n"


def test_the_example(load):
    loaded = load(ISSUE_EXAMPLE, {"AILINK_MASTER_KEY": MASTER, "OPENAI_API_KEY": "sk-o"})
    model = loaded.config.models[0]
    assert (loaded.source, loaded.notes) == ("ailink", ())
    assert loaded.config.master_key.reveal() == MASTER
    assert model.price.input_per_million == 150_000_000_000
    assert model.timeouts.first_byte == 60_000
    assert [d.weight for d in model.deployments] == [2, 1]
    assert model.deployments[0].api_key.reveal() == "sk-o"
    assert MASTER not in repr(loaded)
    assert "sk-o'" not in repr(loaded)


def test_nothing_but_defaults(load):
    for text in ("", "# empty\n", "{}\n", "server:\nmodels:\n"):
        assert load(text).config.server == Config().server


def test_file_names_are_relative_to_the_file(load, tmp_path):
    config = load("data_dir: d\nserver: {uds: run/a.sock}\n" + MOCK).config
    assert config.data_dir == str(tmp_path / "d")
    assert config.server.uds == str(tmp_path / "run/a.sock")


def test_every_problem_at_once(problems):
    text = """\
server: {prot: 4000, port: 70000, limits: {body_bytes: 12 apples}}
modles: []
plugins: {}
models:
  - name: a
    deployments:
      - {provider: opnai, wieght: 2}
      - {provider: mock, weight: 0}
    price: {input_per_million: -1}
    fallbacks: [b, zz]
    timeouts: {connect: 5}
  - name: b
    deployments: []
    fallbacks: [a]
  - name: a
    retries: yes
    deployments: [{provider: openai, api_key: "${NOPE}"}]
  - deployments: [{provider: mock}]
"""
    found = problems(text)
    assert found == [
        "1:10 server.prot: unknown key `prot`; did you mean `port`?",
        "1:28 server.port: expected a whole number from 0 to 65535, got `70000`",
        (
            "1:56 server.limits.body_bytes: "
            "expected a size such as `64KiB` or `256MiB` (units: B, KB … TB, KiB … TiB)"
        ),
        "2:1 modles: unknown key `modles`; did you mean `models`?",
        "3:1 plugins: `plugins` is reserved, not supported in this version",
        "7:20 models[0].deployments[0].provider: unknown provider `opnai`; did you mean `openai`?",
        "7:27 models[0].deployments[0].wieght: unknown key `wieght`; did you mean `weight`?",
        "8:34 models[0].deployments[1].weight: expected a whole number from 1 to 1000000, got `0`",
        "9:32 models[0].price.input_per_million: must not be negative",
        "10:20 models[0].fallbacks[1]: unknown model `zz`",
        "11:25 models[0].timeouts.connect: a duration needs a unit: `5s` or `5ms`",
        "13:18 models[1].deployments: the model `b` has no deployment",
        "14:17 models[1].fallbacks[0]: the fallbacks form a circle: a → b → a",
        found[13],
        "16:14 models[2].retries: expected a whole number from 0 to 10, got `yes`",
        (
            "17:47 models[2].deployments[0].api_key: "
            "environment variable NOPE is not set (${NOPE:-default} gives a default)"
        ),
        "18:5 models[3]: `name` is missing",
    ]
    assert found[13].startswith("15:11 models[2].name: `a` is taken already by models[0].name (")


def test_items_after_a_dropped_one_keep_their_index(problems):
    text = """\
models:
  - {nam: x}
  - name: b
    deployments: [{provider: mock}, {provider: nowhere}]
    fallbacks: [ghost]
"""
    assert [line.split(" ")[1] for line in problems(text)] == [
        "models[0]:",
        "models[0].nam:",
        "models[1].deployments[1].provider:",
        "models[1].fallbacks[0]:",
    ]


def test_a_fault_is_not_reported_twice(problems):
    text = """\
providers: {bad: {dialect: openai_chat, base_url: "ftp://x"}}
models:
  - {name: a, deployments: [{provider: bad}, {provider: bad}]}
  - {name: b, deployments: 5}
  - {name: c, deployments: [{provider: openai, api_key: 12345}], fallbacks: [b]}
"""
    assert problems(text) == [
        "1:51 providers.bad.base_url: must start with http:// or https://",
        "4:28 models[1].deployments: expected a list, got `5`",
        "5:57 models[2].deployments[0].api_key: expected text; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("server: 5", "server", "expected a mapping"),
        ("server: [a]", "server", "got a list"),
        ("models: {a: b}", "models", "expected a list, got a mapping"),
        ("models: [5]", "models[0]", "expected a mapping, got `5`"),
        ("models: [~]", "models[0]", "got nothing"),
        ("cache: {enabled: on}", "cache.enabled", "expected `true` or `false`, got `on`"),
        ("cache: {enabled: 1}", "cache.enabled", "expected `true` or `false`"),
        ('cache: {enabled: "true"}', "cache.enabled", "expected `true` or `false`"),
        ("cache: {ttl: 0s}", "cache.ttl", "must be more than 0"),
        ("cache: {exact: {ttl: 0s}}", "cache.exact.ttl", "must be more than 0"),
        ("cache: {ttl: 1m, exact: {ttl: 2m}}", "cache.exact.ttl", "`cache.ttl` says something else"),
        ("cache: {redis: {url: http://h}}", "cache.redis.url", "must begin with redis://"),
        ("cache: {redis: {url: redis+other://h}}", "cache.redis.url", "must begin with redis://"),
        ("cache: {redis: {url: redis+sentinel://h}}", "cache.redis.url", "name the master"),
        (
            "cache: {redis: {url: rediss://h, ca_file: /nil}}",
            "cache.redis.ca_file",
            "cannot read /nil",
        ),
        ("cache: {redis: {url: redis://h, timeout: 0s}}", "cache.redis.timeout", "must be more than 0"),
        ("cache: {objects: {url: http://b}}", "cache.objects.url", "expected `s3://BUCKET/PREFIX`"),
        ("cache: {objects: {url: s3://b/ä}}", "cache.objects.url", "expected `s3://BUCKET/PREFIX`"),
        ("cache: {objects: {url: s3://bucket//x}}", "cache.objects.url", "expected `s3://BUCKET/PREFIX`"),
        ("cache: {objects: {url: file://x}}", "cache.objects.url", "an absolute path"),
        ("cache: {objects: {url: file:///x, region: r}}", "cache.objects.region", "is for a bucket"),
        ("cache: {objects: {url: s3://bucket, timeout: 0s}}", "cache.objects.timeout", "must be more than 0"),
        ("cache: {objects: {url: s3://bucket, access_key: abc}}", "cache.objects.access_key", "`ID:SECRET`"),
        (
            "cache: {objects: {url: s3://bucket, access_key: 'a:b', identity: {aws: {}}}}",
            "cache.objects.identity",
            "not both",
        ),
        (
            "cache: {objects: {url: s3://bucket, identity: {google: {}}}}",
            "cache.objects.identity",
            "takes identities of `aws`",
        ),
        (
            "cache: {objects: {url: s3://bucket, identity: {aws: {access_key_id: a}}}}",
            "cache.objects.identity.aws",
            "go together",
        ),
        ("cache: {semantic: {threshold: 0.9}}", "cache.semantic", "`embedding_model` or `directory`"),
        (
            "cache: {semantic: {embedding_model: e}}",
            "cache.semantic.embedding_model",
            "there is no model 'e'",
        ),
        ("cache: {semantic: {directory: d, judge: j}}", "cache.semantic.judge", "there is no model 'j'"),
        ("cache: {semantic: {directory: d, threshold: 0.4}}", "cache.semantic.threshold", "from 0.5 to 1"),
        ("cache: {semantic: {directory: d, timeout: 0s}}", "cache.semantic.timeout", "more than 0"),
        ("observe: {log_level: inof}", "observe.log_level", "did you mean `info`?"),
        ("observe: {otlp: {sample: 0.1}}", "observe.otlp", "`endpoint` is missing"),
        ("observe: {otlp: {endpoint: 'c:4318'}}", "observe.otlp.endpoint", "http:// or https://"),
        ("observe: {otlp: {endpoint: 'http://c', sample: 1.5}}", "observe.otlp.sample", "from 0 to 1"),
        ("data_dir: true", "data_dir", "expected text, got a boolean; put it in quotes"),
        ("data_dir: 1.50", "data_dir", "expected text, got a number; put it in quotes"),
        ("data_dir: ''", "data_dir", "must not be empty"),
        ("{redis_url: redis://x, server: {node: 1}}", "redis_url", "several nodes need one database"),
        ("mcp: x", "mcp", "reserved, not supported in this version"),
        (
            "database_url: mysql://u:pw@h/db",
            "database_url",
            "`mysql://` is no database of ours",
        ),
        ("database_url: ailink.db", "database_url", "this is no database of ours"),
        ("server: {port: 1.5}", "server.port", "expected a whole number"),
        ("server: {port: ~}", "server.port", "no listener"),
        ("server: {trusted_proxies: [10.0.0.1/8]}", "server.trusted_proxies[0]", "not a network"),
        ("server: {tls: {cert_file: nope.crt, key_file: /dev/null}}", "server.tls.cert_file", "cannot read"),
        ("server: {tls: {cert_file: a}}", "server.tls", "`key_file` is missing"),
        ("providers: {x: {api_key: k}}", "providers.x.dialect", "needs `dialect`"),
        ("providers: {x: {dialect: openai}}", "providers.x.base_url", "needs `base_url`"),
        (
            "providers: {x: {dialect: opanai, base_url: http://h}}",
            "providers.x.dialect",
            "did you mean `openai`?",
        ),
        (
            "providers: {x: {dialect: openai, base_url: http://h, operations: {cht: /c}}}",
            "providers.x.operations.cht",
            "did you mean `chat`?",
        ),
        (
            "providers: {x: {dialect: openai, base_url: http://h, operations: {messages: /m}}}",
            "providers.x.operations.messages",
            "not part of the dialect",
        ),
        (
            "providers: {x: {dialect: openai, base_url: http://h, operations: {chat: c}}}",
            "providers.x.operations.chat",
            "must match",
        ),
        ("providers: {openai: {dialect: anthropic}}", "providers.openai.dialect", "needs `operations` too"),
        ("providers: {openai: {api_key: a, credential: b}}", "providers.openai.credential", "not both"),
        (
            "providers: {openai: {headers: {Host: x}}}",
            "providers.openai.headers.Host",
            "belongs to the gateway",
        ),
        (
            "providers: {openai: {headers: {x-ailink-role: admin}}}",
            "providers.openai.headers.x-ailink-role",
            "belongs to the gateway",
        ),
        (
            'providers: {openai: {headers: {"x y": z}}}',
            'providers.openai.headers["x y"]',
            "not a header name",
        ),
        ('providers: {openai: {headers: {x: "a\\r\\nb"}}}', "providers.openai.headers.x", "printable ASCII"),
        (
            "providers: {openai: {base_url: http://user:pw@h/v1}}",
            "providers.openai.base_url",
            "user or password",
        ),
    ],
)
def test_one_problem(problems, text, path, words):
    (found,) = problems(text)
    assert found.split(" ", 1)[1].startswith(f"{path}: ")
    assert words in found


@pytest.mark.parametrize(
    ("deployment", "path", "words"),
    [
        ("{provider: openai_compatible, model: x}", "base_url", "has no default `base_url`"),
        ("{provider: openai, api_key: k, region: eu-1}", "region", "has no use for it"),
        (
            "{provider: openai, api_key: k, base_url: 'https://{region}.x/v1'}",
            "region",
            "`region` is missing",
        ),
        (
            "{provider: openai, api_key: k, base_url: 'https://{zone}.x/v1'}",
            "base_url",
            "unknown placeholder {zone}",
        ),
        ("{provider: openai, api_key: k, base_url: 'https://x/v1?a=b'}", "base_url", "query"),
        ("{provider: openai, api_key: k, base_url: 'https://x:99999/v1'}", "base_url", "ort"),
        ("{provider: openai, api_key: k, base_url: 'https://[::1/v1'}", "base_url", "Invalid IPv6"),
        (
            "{provider: openai}",
            "api_key",
            "no API key: give `api_key` here or in `providers.openai`, or set OPENAI_API_KEY",
        ),
        ("{provider: openai, api_key: ''}", "api_key", "is empty"),
        ("{provider: openai, base_url: 'http://other/v1'}", "api_key", "no API key"),
        ("{provider: openai, api_key: k, id: 'a b'}", "id", "must match"),
        ("{provider: openai, api_key: k, timeouts: {idle: 0s}}", "timeouts.idle", "must be more than 0"),
    ],
)
def test_one_problem_in_a_deployment(problems, deployment, path, words):
    (found,) = problems(f"models: [{{name: m, deployments: [{deployment}]}}]")
    assert found.split(" ", 1)[1].startswith(f"models[0].deployments[0].{path}: ")
    assert words in found


def test_keys_from_the_environment_go_home_only(load, problems):
    text = "models: [{name: m, deployments: [{provider: openai, base_url: '%s'}]}]"
    assert load(text % "https://api.openai.com:443/v1/", {"OPENAI_API_KEY": "k"})
    for elsewhere in ("https://evil.example/v1", "http://api.openai.com/v1", "https://api.openai.com:444/v1"):
        assert "no API key" in problems(text % elsewhere, {"OPENAI_API_KEY": "k"})[0]


def test_a_shared_key_goes_to_its_own_host_only(load, problems):
    text = """\
providers: {openai: {base_url: "https://a.example/v1", api_key: k}}
models: [{name: m, deployments: [{provider: openai, base_url: "%s"}]}]
"""
    assert load(text % "https://a.example/v2")
    assert "not sent to another host" in problems(text % "https://b.example/v1", {"OPENAI_API_KEY": "k"})[0]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("sk-1234", "well-known"),
        ("Password", "well-known"),
        ("sk-1234567890abcdef", "well-known"),
        ("short-key", "has 9 characters"),
        ("sk-aaaaaaaaaaaaaaaaaaaa", "repeats"),
        ("sk-abababababababababab", "repeats"),
        ("a key with blanks in it", "printable ASCII"),
        ("schlüssel-schlüssel", "printable ASCII"),
    ],
)
def test_weak_master_keys(problems, key, words):
    (found,) = problems(f"master_key: '{key}'\n" + MOCK)
    assert words in found
    assert key not in found


def test_encryption_keys(load, problems):
    good = "kJ8mXw1Zp3bq7Xw9Ld2Vn6Rk1Tt5Yy8Uu0Ii3Oo6Pw4="
    assert load(f"encryption_key: {good}\n" + MOCK).config.encryption_key.reveal() == good
    for bad in ("abc", "0" * 64, "x" * 44):
        assert "32 random bytes" in problems(f"encryption_key: '{bad}'\n" + MOCK)[0]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "'::'", "gateway.example"])
def test_a_bind_beyond_loopback_needs_a_credential_or_tls(load, problems, host, tmp_path):
    text = f"server: {{host: {host}}}\n" + MOCK
    assert "neither `server.tls` nor a `master_key`" in problems(text)[0]
    (note,) = load(f"master_key: {MASTER}\n" + text).notes
    assert "clear text" in note.message
    for name in ("a.crt", "a.key"):
        (tmp_path / name).write_text("x")
    assert load(f"server: {{host: {host}, tls: {{cert_file: a.crt, key_file: a.key}}}}\n" + MOCK).notes == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "'::1'", "localhost"])
def test_loopback_needs_nothing(load, host):
    assert load(f"server: {{host: {host}}}\n" + MOCK).notes == ()


def test_the_command_line_is_checked_like_the_file(write, registry):
    file = write(MOCK)
    assert loader.load(file, registry, {}, Overrides(port=1)).config.server.port == 1
    with pytest.raises(ConfigError, match="neither"):
        loader.load(file, registry, {}, Overrides(host="0.0.0.0"))


def test_an_expanded_value_takes_the_type_of_its_place(load, problems):
    env = {"PORT": "4100", "ON": "true", "KEY": "12345", "T": "5s", "P": "0.15", "EMPTY": "", "NAME": "true"}
    # In a flow mapping a `}` would end the mapping, so the references stand in quotes there.
    flow = """\
server: {port: "${PORT}"}
cache: {enabled: "${ON}", ttl: "${T}"}
master_key: "${EMPTY}"
models:
  - name: "${NAME}"
    price: {input_per_million: "${P}"}
    deployments: [{provider: openai, api_key: "${KEY}"}]
"""
    block = """\
server:
  port: ${PORT}
cache:
  enabled: ${ON}
  ttl: ${T}
master_key: ${EMPTY}
models:
  - name: ${NAME}
    price:
      input_per_million: ${P}
    deployments:
      - provider: openai
        api_key: ${KEY}
"""
    config = load(block, env).config
    assert load(flow, env).config == config
    assert "expected a whole number" in problems("server: {port: '4100'}", env)[0]
    assert (config.server.port, config.cache.enabled, config.cache.ttl) == (4100, True, 5000)
    assert config.master_key is None
    assert config.models[0].name == "true"
    assert config.models[0].price.input_per_million == 150_000_000_000
    assert config.models[0].deployments[0].api_key.reveal() == "12345"


def test_expanded_values_are_not_shown(problems):
    found = problems("server:\n  port: ${P}\ncache: {ttl: '${P}'}\n", {"P": "hunter2-hunter2"})
    assert len(found) == 2
    assert not any("hunter2" in line for line in found)


def test_secrets_are_not_shown(problems):
    found = problems("master_key: hunter2\nproviders: {openai: {api_key: 1234567}}\n")
    assert len(found) == 2
    assert not any("hunter2" in line or "1234567" in line for line in found)


def test_a_key_twice_is_refused(problems):
    assert problems("models: []\nmodels: []\n") == ["2:1 : the key `models` stands twice; first on line 1"]


def test_a_missing_file(registry, tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        loader.load(tmp_path / "none.yaml", registry, {})


def test_not_a_mapping(problems):
    assert problems("- a\n- b\n") == ["1:1 : expected a mapping, got a list"]
    assert problems("text\n") == ["1:1 : expected a mapping, got `text`"]


# ── includes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_includes_are_merged(load, write, tmp_path):
    write("models: [{name: b, deployments: [{provider: own}]}]\n", "more/b.yaml")
    write(
        "include: b.yaml\nproviders: {own: {dialect: openai, base_url: http://127.0.0.1:9}}\n", "more/a.yaml"
    )
    loaded = load("include: ['more/${NAME}.yaml']\nserver: {port: 1}\n" + MOCK, {"NAME": "a"})
    assert [model.name for model in loaded.config.models] == ["m", "b"]
    assert [file.name for file in loaded.files] == ["ailink.yaml", "a.yaml", "b.yaml"]
    before = loaded.digest
    write("models: [{name: c, deployments: [{provider: own}]}]\n", "more/b.yaml")
    assert load("include: ['more/${NAME}.yaml']\nserver: {port: 1}\n" + MOCK, {"NAME": "a"}).digest != before


def test_problems_in_an_include_point_into_it(write, registry):
    write("models:\n  - {name: b, deployments: [{provider: nope}]}\n", "b.yaml")
    with pytest.raises(ConfigError) as caught:
        loader.load(write("include: [b.yaml]\n" + MOCK), registry, {})
    (problem,) = caught.value.problems
    assert problem.place.file.endswith("/b.yaml")
    assert problem.place.line == 2
    assert problem.path == "models[1].deployments[0].provider"


@pytest.mark.parametrize(
    ("main", "other", "words"),
    [
        ("include: [o.yaml]\nserver: {port: 1}\n", "server: {port: 2}\n", "`port` is set already"),
        ("include: [o.yaml]\ndata_dir: a\n", "data_dir: b\n", "`data_dir` is set already"),
        ("include: [o.yaml]\n", "include: [ailink.yaml]\n", "circle: ailink.yaml → o.yaml → ailink.yaml"),
        ("include: [none.yaml]\n", "", "cannot read"),
        ("include: [{a: b}]\n", "", "takes a file name"),
        ("include: [o.yaml]\n", "- a\n", "expected a mapping"),
        ("include: [o.yaml]\n", "a: [\n", "not valid YAML"),
        ("include: ['${NONE}']\n", "", "NONE is not set"),
    ],
)
def test_bad_includes(problems, write, main, other, words):
    write(other, "o.yaml")
    (found,) = problems(main)
    assert words in found


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────


@given(st.decimals(0, 10**5, places=12))
def test_prices_are_exact_through_the_file(amount):
    root = yaml12.compose(
        f"models: [{{name: m, deployments: [], price: {{per_request: {amount:f}}}}}]".encode(), "f"
    )
    reader = loader.Reader({})
    config = reader.config(root, root.place)
    assert config.models[0].price.per_request == Fraction(Decimal(amount)) * 10**12


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 40), st.integers(0, 12), st.sampled_from(["x", "weigth", "api key", "ключ"]))
def test_positions_of_unknown_keys(registry, tmp_path_factory, lines, indent, key):
    text = "#\n" * lines + "server:\n" + " " * (indent + 1) + f"'{key}': 1\n"
    file = tmp_path_factory.getbasetemp() / "positions.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        loader.load(file, registry, {})
    (problem,) = caught.value.problems
    assert (problem.place.line, problem.place.column) == (lines + 2, indent + 2)
    assert problem.path == render_path(("server", key))


def test_every_key_of_the_schema_can_be_misspelled_and_is_found():
    for name in Config.__struct_fields__:
        assert nearest(f"{name}s", Config.__struct_fields__) == name


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("models", 0, "weight"), "models[0].weight"),
        (("providers", "my.provider", "base_url"), 'providers["my.provider"].base_url'),
        ((0, "a"), "[0].a"),
    ],
)
def test_render_path(path, text):
    assert render_path(path) == text


def test_secrets_have_no_repr():
    secret = Secret("hunter2-hunter2")
    assert "hunter2" not in f"{secret!r} {secret} {msgspec.structs.asdict(Config(master_key=secret))}"
    assert secret == Secret("hunter2-hunter2")
    assert secret != Secret("x")
    assert secret != "hunter2-hunter2"
    assert len({secret, Secret("hunter2-hunter2")}) == 1
