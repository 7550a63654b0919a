"""Rates of the semantic cache by threshold, on the pairs that come with it."""

import pytest
from scripts.cache_page import PAGE, rendered
from tests.harness.meaning import write_static_model

from ailink import _core
from ailink.semantic.evaluation import (
    SAME,
    SHIPPED,
    Pair,
    PairError,
    evaluate,
    lexical,
    markdown,
    read_pairs,
    static,
)

PAIRS = read_pairs(SHIPPED)


def test_the_words_of_near_misses_give_them_away():
    """Whatever an embedder says: of the pairs that come with it, hardly one is taken for a paraphrase."""
    rates = evaluate(PAIRS, None).rates[0]
    assert rates.hits_by_vector == rates.false_hits_by_vector == 1
    assert rates.false_hits <= 0.08
    assert rates.hits >= 0.4


@pytest.mark.parametrize("kind", ["number", "negation", "opposite", "kind", "asked", "direction"])
def test_every_kind_is_told_apart(kind):
    pairs = [pair for pair in PAIRS if pair.kind == kind]
    told = [pair for pair in pairs if _core.question_difference(pair.first, pair.second) is None]
    assert len(pairs) >= 5
    assert told == []


def test_the_order_of_two_questions_does_not_matter():
    for pair in PAIRS:
        there = _core.question_difference(pair.first, pair.second)
        assert there == _core.question_difference(pair.second, pair.first), pair
        assert _core.question_difference(pair.first, pair.first) is None


def test_rates_fall_with_the_threshold(tmp_path):
    embed = static(write_static_model(tmp_path))
    pairs = [
        Pair(SAME, "How do I reset the password of my account?", "Steps to recover a login passphrase"),
        Pair(SAME, "Is the sky blue?", "What picture is it?"),
        Pair("word", "reset my password", "reset my account password"),
    ]
    rates = {row.threshold: row for row in evaluate(pairs, embed).rates}
    assert rates[0.95].hits == 0.5
    assert (rates[0.5].false_hits_by_vector, rates[0.95].false_hits_by_vector) == (1, 0)
    assert rates[0.5].false_hits == 0
    found = evaluate(PAIRS, lexical)
    assert [row.hits for row in found.rates] == sorted((row.hits for row in found.rates), reverse=True)
    assert markdown(found).count("\n") == len(found.rates) + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paraphrase\ta\tb\nodd\n", "line 2: expected kind"),
        ("paraphrase\ta\tb\n", "needs pairs"),
        (None, "No such file"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, text, words):
    file = tmp_path / "pairs.tsv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PairError, match=words):
        read_pairs(file)


def test_the_page_has_the_rates_of_today():
    assert rendered(PAGE.read_text()) == PAGE.read_text()
