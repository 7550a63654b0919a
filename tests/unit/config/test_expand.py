"""`${VAR}` against a slow twin."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink.config.expand import ExpansionError, escape, expand

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
PLAIN = st.text(st.sampled_from(string.ascii_letters + " $}{:-/."), max_size=10).filter(
    lambda t: "${" not in t
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("x${A}y${B}z", "x1y2z"),
        ("${NONE:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${A:-default}", "1"),
        ("${NONE:-}", ""),
        ("$${A}", "${A}"),
        ("$A $ {A}", "$A $ {A}"),
        ("a$$${A}", "a$${A}"),
    ],
)
def test_expand(text, wanted):
    assert expand(text, {"A": "1", "B": "2", "EMPTY": ""}) == wanted


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${1A}", "${A-x}", "${A:x}", "${ A }", "${A.B}"])
def test_a_malformed_reference_is_refused(text):
    with pytest.raises(ExpansionError, match="without a variable"):
        expand(text, {"A": "1"})


def test_a_missing_variable_is_named_and_values_are_not():
    with pytest.raises(ExpansionError, match="NONE is not set") as caught:
        expand("${A}${NONE}", {"A": "very-secret"})
    assert "very-secret" not in str(caught.value)


def test_values_are_not_expanded_again():
    assert expand("${A}", {"A": "${B}", "B": "no"}) == "${B}"


@given(st.text())
def test_escape_is_the_way_back(text):
    assert expand(escape(text), {}) == text


@given(
    st.lists(st.tuples(PLAIN, NAMES, st.none() | st.text(st.sampled_from("abc -:"), max_size=5))),
    st.dictionaries(NAMES, st.text(max_size=8)),
)
def test_against_a_slow_twin(parts, env):
    text, wanted = "", ""
    for plain, name, default in parts:
        if plain.endswith("$"):
            plain += " "
        text += plain + (f"${{{name}}}" if default is None else f"${{{name}:-{default}}}")
        if default is None and name not in env:
            wanted = None
            break
        value = env.get(name)
        wanted += plain + (value if default is None else value or default)
    if wanted is None:
        with pytest.raises(ExpansionError):
            expand(text, env)
    else:
        assert expand(text, env) == wanted
