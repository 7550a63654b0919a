"""Lookups of the cache: an exact one with its key at most 2.5 µs, a question among 100,000 at most 300 µs."""

import json
import os
import random
import string
import struct
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ailink import _core

DIMENSIONS = 256
WORDS = 20_000
QUESTIONS = int(os.environ.get("AILINK_QUESTIONS", "100000"))


@pytest.mark.benchmark(group="cache")
@pytest.mark.parametrize("entries", [1_000, 100_000])
def test_exact(benchmark: BenchmarkFixture, entries: int) -> None:
    """Canonical key of a chat of 1 KiB, and the lookup."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant. " * 6},
        {"role": "user", "content": "Explain how a cache finds an answer again. " * 14},
    ]
    body = {
        "model": "gpt-4o-mini",
        "messages": messages,
        "temperature": 0.7,
        "max_tokens": 256,
        "stream": True,
    }
    probe = _core.CacheProbe(json.dumps(body).encode(), entries)
    assert benchmark(probe.look)


def _static_model(directory: Path, draw: random.Random) -> list[str]:
    """Random vectors for made-up words."""
    words = sorted({"".join(draw.choices(string.ascii_lowercase, k=7)) for _ in range(WORDS)})
    vocabulary = {"[UNK]": 0} | {word: number for number, word in enumerate(words, 1)}
    tokenizer = {
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    count = len(vocabulary) * DIMENSIONS
    data = struct.pack(f"<{count}f", *(draw.gauss(0, 1) for _ in range(count)))
    described = {"dtype": "F32", "shape": [len(vocabulary), DIMENSIONS], "data_offsets": [0, len(data)]}
    head = json.dumps({"embeddings": described}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    return words


@pytest.mark.benchmark(group="semantic")
def test_semantic(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Vector of a question by a static model, search among 100,000 of one partition, comparison of words."""
    draw = random.Random(7)
    words = _static_model(tmp_path, draw)
    model = _core.StaticModel(tmp_path)
    index = _core.QuestionIndex()
    asked = ""
    for number in range(QUESTIONS):
        asked = " ".join(draw.sample(words, 12))
        index.put(number, asked, model.embed(asked))
    turned = " ".join(reversed(asked.split()))
    ((found, similarity),) = benchmark(index.look, model, turned, 0.95, 4)
    assert found == asked
    assert similarity > 0.99
