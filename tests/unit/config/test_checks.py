"""Circles of fallbacks against a slow twin, and what counts as reachable."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink.config.checks import is_loopback
from ailink.config.circles import cycles

NAMES = st.sampled_from("abcdef")
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, max_size=4, unique=True))


def has_circle(graph):
    """Follows every path."""

    def walk(name, trail):
        return name in trail or any(walk(other, [*trail, name]) for other in graph.get(name, []))

    return any(walk(name, []) for name in graph)


@given(GRAPHS)
def test_circles_are_found_if_there_are_any(graph):
    edges = {
        name: [(other, (name, index)) for index, other in enumerate(others)] for name, others in graph.items()
    }
    found = cycles(edges)
    assert bool(found) == has_circle(graph)
    for chain, (name, index) in found:
        assert chain[0] == chain[-1]
        assert all(after in graph[before] for before, after in pairwise(chain))
        assert graph[name][index] == chain[-1]


def test_long_chains_are_no_matter():
    edges = {str(n): [(str(n + 1), ("x",))] for n in range(20_000)}
    assert cycles(edges) == []
    edges["20000"] = [("0", ("x",))]
    assert len(cycles(edges)) == 1


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil.org")))


@pytest.mark.parametrize(
    ("price", "path", "words"),
    [
        ("{per_image: 10}", "price.per_image", "more than 9 US dollars"),
        ("{tiers: [{above: 5}, {above: 5}]}", "price.tiers", "begin at the same size"),
        ("{services: {flex: {tiers: [{above: 5}, {above: 5}]}}}", "price.services.flex.tiers", "same size"),
        ("{services: {fast: {}}}", "price.services", ""),
    ],
)
def test_prices(problems, price, path, words):
    text = f"models: [{{name: m, price: {price}, deployments: [{{provider: mock}}]}}]"
    (found,) = problems(text)
    assert f"models[0].{path}" in found
    assert words in found


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ("action: retry", "scan", "looks at `output` alone"),
        ("action: retry, scan: [input, output]", "scan", "looks at `output` alone"),
        ("action: fallback, scan: [output], stream: audit", "stream", "before any of it leaves"),
        ("action: tokenize, scan: [output]", "scan", "looks at `input`"),
    ],
)
def test_actions_of_guardrails(problems, settings, path, words):
    model = "models: [{name: m, deployments: [{provider: mock}]}]"
    text = f"{model}\nguardrails: [{{name: g, words: [a], {settings}}}]"
    (found,) = problems(text)
    assert f"guardrails[0].{path}" in found
    assert words in found


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?<=a)b", "look-around `(?<=a)b` is not supported"),
        (r"(a)\1", "back-reference"),
        ("a*", "matches the empty text"),
        ("(", "unclosed group"),
        ("(?:a{1000}){1000}{100}", "needs more memory"),
    ],
)
def test_patterns_of_guardrails(problems, pattern, words):
    model = "models: [{name: m, deployments: [{provider: mock}]}]"
    (found,) = problems(f"{model}\nguardrails: [{{name: g, patterns: ['fine', '{pattern}']}}]")
    assert "guardrails[0].patterns[1]" in found
    assert words in found
