"""How often the semantic cache would be right, and how often wrong, by threshold: on pairs of questions whose
answer is known to be the same or another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from ailink import _core

SHIPPED: Final = Path(__file__).with_name("pairs.tsv")
THRESHOLDS: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
SAME: Final = "paraphrase"
"""The kind of pairs that one answer does for; all others are near misses, by what they differ in."""

Embed: TypeAlias = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Vectors of texts, in their order."""


class Pair(msgspec.Struct, frozen=True):
    kind: str
    first: str
    second: str


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of pairs: of paraphrases that hit, of near misses that hit falsely; with the comparison of words
    and by vectors alone.
    """

    threshold: float
    hits: float
    false_hits: float
    hits_by_vector: float
    false_hits_by_vector: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`missed`: near misses that the comparison of words lets pass, whatever the vectors say."""

    pairs: int
    paraphrases: int
    rates: list[Rates]
    let_pass: list[Pair]


class PairError(Exception):
    """A file of pairs cannot be read: which line, and why."""


def read_pairs(path: Path) -> list[Pair]:
    """Lines of kind, question, question, with tabs between. Raises PairError."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PairError(f"{path}: {error}") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if line and len(fields) != 3:
            raise PairError(f"{path}, line {number}: expected kind, question, question with tabs between")
        if line:
            pairs.append(Pair(*fields))
    kinds = {pair.kind == SAME for pair in pairs}
    if kinds != {True, False}:
        raise PairError(f"{path}: needs pairs of the kind `{SAME}`, and others")
    return pairs


def evaluate(pairs: Sequence[Pair], embed: Embed | None) -> Evaluation:
    """Rates by threshold. Without `embed` all pairs are taken to be alike: the rest is the words' doing."""
    if embed is None:
        similarities = [1.0] * len(pairs)
    else:
        vectors = embed([text for pair in pairs for text in (pair.first, pair.second)])
        similarities = [cosine(*pair) for pair in zip(vectors[::2], vectors[1::2], strict=True)]
    agreed = [_core.question_difference(pair.first, pair.second) is None for pair in pairs]
    same = [pair.kind == SAME for pair in pairs]

    def share(of: bool, threshold: float, words: bool) -> float:
        rows = zip(similarities, agreed, same, strict=True)
        chosen = [near >= threshold and (agree or not words) for near, agree, kind in rows if kind is of]
        return sum(chosen) / len(chosen)

    rates = [
        Rates(
            threshold=threshold,
            hits=share(True, threshold, True),
            false_hits=share(False, threshold, True),
            hits_by_vector=share(True, threshold, False),
            false_hits_by_vector=share(False, threshold, False),
        )
        for threshold in THRESHOLDS
    ]
    let_pass = [pair for pair, agree in zip(pairs, agreed, strict=True) if agree and pair.kind != SAME]
    return Evaluation(pairs=len(pairs), paraphrases=sum(same), rates=rates, let_pass=let_pass)


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """0 for vectors without a direction."""
    length = math.hypot(*first) * math.hypot(*second)
    return sum(a * b for a, b in zip(first, second, strict=True)) / length if length else 0.0


def static(directory: Path) -> Embed:
    """By the files of a static model. Raises ValueError."""
    model = _core.StaticModel(directory)
    return lambda texts: [model.embed(text) for text in texts]


def lexical(texts: Iterable[str]) -> list[list[float]]:
    """Hashed words and their pieces: no meaning at all, for comparison."""
    return [_hashed(text.lower()) for text in texts]


def _hashed(text: str) -> list[float]:
    vector = [0.0] * 512
    padded = f" {text} "
    for at in range(len(padded) - 2):
        # Not Python's own hash, which differs from process to process.
        number = int.from_bytes(padded[at : at + 3].encode()[:8].ljust(8, b"\0"), "little")
        vector[number * 0x9E3779B97F4A7C15 % 2**64 >> 55] += 1.0
    return vector


def markdown(evaluation: Evaluation) -> str:
    """A table of the rates."""
    lines = [
        "| threshold | paraphrases found | near misses let pass | by vectors alone: found | let pass |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.threshold} | {row.hits:.0%} | {row.false_hits:.0%} | {row.hits_by_vector:.0%} "
        f"| {row.false_hits_by_vector:.0%} |"
        for row in evaluation.rates
    ]
    return "\n".join(lines)


def plain(evaluation: Evaluation) -> object:
    """As JSON has it."""
    return msgspec.to_builtins(evaluation)
