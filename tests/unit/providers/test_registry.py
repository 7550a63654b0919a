"""The provider catalogue: the shipped rows, and how a bad one stops the start."""

import re
from pathlib import Path

import msgspec
import pytest
from scripts.providers_page import PAGE, rendered

from ailink import providers
from ailink.pricing import load as load_prices
from ailink.providers import OPERATIONS, CatalogError, Registry, rules
from ailink.providers.registry import base_url_fault, path_fault, read_row

ROW = """\
id = "x"
title = "X"
base_url = "https://x.example/v1"
dialect = "openai"
aliases = ["x_ai"]
env = ["X_API_KEY"]
stream_usage = "inject"
pool_idle_ms = 4000

[auth]
scheme = "bearer"

[operations]
chat = "/chat/completions"
"""


@pytest.fixture(scope="module")
def registry():
    return Registry.builtin()


def test_the_shipped_catalogue(registry):
    assert len(registry) >= 100
    for name in [
        "openai",
        "anthropic",
        "mock",
        "groq",
        "mistral",
        "together",
        "fireworks",
        "deepseek",
        "ollama",
        "vllm",
        "lm_studio",
    ]:
        assert registry.get(name).id == name
    assert registry.get("together_ai").id == "together"
    assert registry.get("nothing") is None


def test_every_row_is_sound(registry):
    directory = Path(providers.__file__).parent / "catalog"
    assert {row.id for row in registry} == {file.stem for file in directory.glob("*.toml")}
    for row in registry:
        assert set(row.operations) <= set(OPERATIONS)
        assert row.dialect != "anthropic" or "messages" in row.operations
        local = row.base_url is None or "{mock}" in row.base_url or "localhost" in row.base_url
        assert local or row.env or row.auth.identity
        assert row.auth.optional or row.env or row.auth.identity


def test_price_families_exist(registry):
    without_prices = {"openrouter"}
    families = {row.price_family for row in registry if row.price_family} - without_prices
    assert families <= set(load_prices().providers)


def test_a_row(registry):
    row = read_row(ROW.encode(), "x.toml")
    assert (row.id, row.auth.name, row.auth.optional, row.headers) == ("x", "authorization", False, {})
    with pytest.raises(AttributeError):
        row.id = "y"
    assert msgspec.structs.asdict(row)["pool_idle_ms"] == 4000


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('id = "x"', 'id = "y"', "id", "must be the file's name"),
        ('id = "x"', 'id = "X Y"', "id", "Expected `str` matching"),
        ('title = "X"', "", "", "missing required field `title`"),
        ('dialect = "openai"', 'dialect = "klingon"', "dialect", "Invalid enum value"),
        ('scheme = "bearer"', 'scheme = "basic"', "auth.scheme", "Invalid enum value"),
        ('scheme = "bearer"', 'scheme = "bearer"\nnmae = "x"', "auth", "unknown field `nmae`"),
        ('scheme = "bearer"', 'scheme = "none"', "auth", "goes with `optional = true`"),
        ('chat = "/chat/completions"', 'chta = "/c"', "operations", "Invalid enum value"),
        ('chat = "/chat/completions"', 'chat = "c"', "operations[...]", "matching"),
        ('chat = "/chat/completions"', "", "operations", "length >= 1"),
        ("pool_idle_ms = 4000", "pool_idle_ms = -1", "pool_idle_ms", ">= 0"),
        ("pool_idle_ms = 4000", 'pool_idle_ms = "4s"', "pool_idle_ms", "Expected `int`"),
        ("pool_idle_ms = 4000", "speed = 1\npool_idle_ms = 4000", "", "unknown field `speed`"),
        ("https://x.example/v1", "x.example", "base_url", "must start with http"),
        ("https://x.example/v1", "https://{zone}.x", "base_url", "unknown placeholder {zone}"),
        ('title = "X"', "title = ", "", "not valid TOML"),
        ('title = "X"', 'title = "X"\ntitle = "Y"', "", "not valid TOML"),
    ],
)
def test_a_bad_row_says_file_key_and_reason(old, new, key, words):
    assert old in ROW
    with pytest.raises(CatalogError) as caught:
        read_row(ROW.replace(old, new).encode(), "x.toml")
    assert (caught.value.file, caught.value.key) == ("x.toml", key)
    assert words in caught.value.reason
    assert "x.toml" in str(caught.value)


def test_names_are_taken_once(tmp_path):
    (tmp_path / "x.toml").write_text(ROW)
    (tmp_path / "y.toml").write_text(ROW.replace('id = "x"', 'id = "y"'))
    with pytest.raises(CatalogError, match=r"y\.toml: aliases: `x_ai` is taken by x\.toml"):
        Registry.from_directory(tmp_path)
    (tmp_path / "y.toml").write_text(ROW.replace('id = "x"', 'id = "y"').replace('["x_ai"]', '["z"]'))
    assert {row.id for row in Registry.from_directory(tmp_path)} == {"x", "y"}


@pytest.mark.parametrize(
    "url",
    [
        "https://a.b/v1",
        "http://127.0.0.1:9",
        "http://[::1]:8/v1",
        "{mock}/v1",
        "{mock}",
        "https://{region}.a.b/x",
    ],
)
def test_base_urls(url):
    assert base_url_fault(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "", "a.b", "ftp://a", "https://", "https:///v1", "https://:80", "https://u@a", "https://u:p@a/v1",
        "https://a?b", "https://a/v1#c", "https://a /v1", "https://a/v1/", "https://ä.de", "https://{a", "https://a}",
        "https://a\\b", "https://a\n", "https://{region", "https://{{region}}",
    ],
)  # fmt: skip
def test_not_base_urls(url):
    assert base_url_fault(url)


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        ("[parameters.chat]\na = {}", "parameters", "chat.a: says nothing"),
        ("[parameters.chat]\na = { too = 'b' }", "parameters[...][...]", "unknown field `too`"),
        ("[parameters.chta]\na = { drop = true }", "parameters", "Invalid"),
        ("[parameters.embeddings]\na = { drop = true }", "parameters", "does not serve"),
        ("[parameters.chat]\na = { drop = true, max = 1 }", "parameters", "`drop` stands alone"),
        ("[parameters.chat]\na = { to = 'a' }", "parameters", "renamed to itself"),
        ("[parameters.chat]\na = { to = 'b' }\nb = { drop = true }", "parameters", "`b` has a rule"),
        ("[parameters.chat]\na = { to = 'c' }\nb = { to = 'c' }", "parameters", "`c` has a rule"),
        ("[parameters.chat]\nmodel = { drop = true }", "parameters", "carries the request"),
        ("[parameters.chat]\na = { to = 'messages' }", "parameters", "carries the request"),
        ("[parameters.chat]\na = { min = 2, max = 1 }", "parameters", "`min` is more than `max`"),
        ("[parameters.chat]\na = { default = 2, require = true }", "parameters", "exclude each other"),
        ("[parameters.all]\nstream_options = { drop = true }", "parameters", "belongs to the gateway"),
        ("[settings]\nregion = 'eu'", "settings.region", "names it in braces"),
        ("[settings]\nzone = 'eu'", "settings", "Invalid enum value"),
    ],
)
def test_bad_rules_and_settings(section, key, words):
    with pytest.raises(CatalogError) as caught:
        read_row(f"{ROW}\n{section}\n".encode(), "x.toml")
    assert (caught.value.key, words in caught.value.reason) == (key, True), caught.value


def test_rules_of_an_operation_stand_over_those_for_all():
    text = (
        ROW + "[parameters.all]\na = { drop = true }\nb = { max = 2 }\n[parameters.chat]\na = { max = 1 }\n"
    )
    row = read_row(text.encode(), "x.toml")
    found = rules.of(row.parameters, "chat")
    assert {name: (rule.drop, rule.max) for name, rule in found.items()} == {
        "a": (False, 1),
        "b": (False, 2),
    }


@pytest.mark.parametrize("path", ["/deployments/{model}/chat?api-version={api_version}", "/../x/v1/messages"])
def test_paths(path):
    assert path_fault(path) is None
    assert read_row(ROW.replace("/chat/completions", path).encode(), "x.toml").operations == {"chat": path}


@pytest.mark.parametrize(
    ("path", "words"), [("/{mock}", "unknown placeholder {mock}"), ("/{a", "braces do not match")]
)
def test_not_paths(path, words):
    assert words in (path_fault(path) or "")


def test_the_page_lists_the_catalogue(registry):
    page = PAGE.read_text()
    assert rendered(page, registry) == page


def test_the_example_of_the_page_is_a_row_of_at_most_20_lines():
    example, *_ = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 20
    assert read_row(example.encode(), "example.toml").id == "example"
