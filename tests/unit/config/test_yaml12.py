"""YAML 1.2's core schema, positions, and files made to harm."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink.config import yaml12
from ailink.config.problems import ConfigError
from ailink.config.yaml12 import Mapping, Scalar, Sequence, compose, resolve


def plain(node):
    if isinstance(node, Scalar):
        return resolve(node.text) if node.plain else node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}


def load(text):
    node = compose(text.encode() if isinstance(text, str) else text, "f.yaml")
    return None if node is None else plain(node)


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("", None),
        ("1", 1),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1e3", Decimal("1e3")),
        ("0.15", Decimal("0.15")),
        (".5", Decimal("0.5")),
        ("5.", Decimal(5)),
        ("1e", "1e"),
        (".", "."),
        ("-", "-"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ("<", "<"),
        ("9" * 65, "9" * 65),
        ("1e999999", "1e999999"),
    ],
)
def test_core_schema(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_quotes_make_text():
    assert load('["1", \'true\', "on", !!str 5]') == ["1", "true", "on", "5"]


def test_numbers_keep_their_digits():
    assert str(load("a: 0.1000000000000000055511151231257827")["a"]) == "0.1000000000000000055511151231257827"


def test_merge_keys():
    text = "base: &b {a: 1, b: 2}\nmore: &m {b: 9, c: 3}\nx: {<<: *b, b: 5}\ny: {<<: [*b, *m]}\n"
    assert load(text)["x"] == {"b": 5, "a": 1}
    assert load(text)["y"] == {"a": 1, "b": 2, "c": 3}


def test_positions_count_from_one():
    root = compose(b"a: 1\nb:\n  - x\n  -  {k: v}\n", "f.yaml")
    assert isinstance(root, Mapping)
    items = root.entries["b"]
    assert (items.items[1].place.line, items.items[1].place.column) == (4, 6)
    assert (root.keys["b"].line, root.keys["b"].column) == (2, 1)
    assert str(items.items[1].entries["k"].place) == "f.yaml:4:10"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "stands twice; first on line 1"),
        ("a: [1\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a:\n\t- b\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tag"),
        ("a: !thing x\n", 1, "tag"),
        ("a: *none\n", 1, "alias"),
        ("a: &x [*x]\n", 1, "contains itself"),
        ("{a: &x {b: *x}}\n", 1, "contains itself"),
        ("? [a, b]\n: c\n", 1, "a key must be a word"),
        ("a: {<<: 5}\n", 1, "`<<` takes"),
        ("a: 'x\x00'\n", 1, "not valid YAML"),
    ],
)
def test_refusals_have_a_place(text, line, words):
    problem = refusal(text)
    assert words in problem.message
    assert problem.place.line == line


def test_bytes_that_are_no_text():
    assert "not valid YAML" in refusal(b"a: 1\nb: \xff\xfe\n").message


def test_depth_is_bounded_before_the_stack_is():
    for opening in ("[", "{a: ", "- ", "? "):
        assert "nested deeper" in refusal(opening * 100_000).message
    assert load("[" * 60 + "]" * 60) is not None


def test_alias_bomb():
    text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{name}: &{name} [{', '.join([f'*{previous}'] * 10)}]\n"
    assert "aliases are written out" in refusal(text).message


def test_size_is_bounded():
    assert "bytes" in refusal(b"#" * (yaml12.MAX_BYTES + 1)).message


def test_nothing():
    assert compose(b"", "f") is None
    assert compose(b"# only a comment\n", "f") is None


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn", "Co"], exclude_characters="\ufeff")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(lambda k: k != "<<"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_json_is_yaml(value):
    assert load(json.dumps(value, ensure_ascii=False)) == value


@given(st.text())
def test_no_text_does_anything_but_load_or_refuse(text):
    with contextlib.suppress(ConfigError):
        load(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_load_or_refuse(data):
    with contextlib.suppress(ConfigError):
        load(data)
