"""What routers are trained from: prompts with what each model's answer was worth and cost."""

import json
import random
from base64 import b64decode
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import unpack
from typing import Any, Final

import msgspec

from ailink import _core

DENSE: Final = 24


class DataError(Exception):
    """Rows that cannot be used; the text names file and line."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt as the data plane sees it. `quality` from 0 to 1 and `cost` in USD, of the models known."""

    dense: list[float]
    vector: list[int]
    complexity: float
    quality: dict[str, float]
    cost: dict[str, float]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a file: a prompt, messages or a whole body; what models are worth there and cost."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    body: dict[str, Any] | None = None
    quality: dict[str, float]
    cost: dict[str, float] = {}


def from_file(file: Path) -> list[Row]:
    """Rows of a JSONL file. Raises DataError."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=_Line)
            rows.append(_row(read))
        except (msgspec.MsgspecError, ValueError) as error:
            raise DataError(f"{file}:{number}: {error}") from error
    if not rows:
        raise DataError(f"{file} has no rows")
    return rows


def _row(line: _Line) -> Row:
    if line.body is not None:
        body = line.body
    elif line.messages is not None:
        body = {"messages": line.messages}
    elif line.prompt is not None:
        body = {"messages": [{"role": "user", "content": line.prompt}]}
    else:
        raise ValueError("one of `prompt`, `messages` and `body` is needed")
    if not line.quality or not all(0 <= value <= 1 for value in line.quality.values()):
        raise ValueError("`quality` needs a number from 0 to 1 for each model that was asked")
    if any(value < 0 for value in line.cost.values()):
        raise ValueError("a cost is negative")
    dense, vector, complexity = _core.router_features(json.dumps(body).encode())
    return Row(dense=dense, vector=vector, complexity=complexity, quality=line.quality, cost=line.cost)


def from_samples(samples: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Rows of what a gateway noted; those without feedback are left out."""
    for sample in samples:
        if sample.get("quality") is None:
            continue
        raw = b64decode(sample["vector"])
        dense = list(unpack(f"<{DENSE}f", b64decode(sample["dense"])))
        yield Row(
            dense=dense,
            vector=list(unpack(f"{len(raw)}b", raw)),
            complexity=_core.router_complexity(dense),
            quality={sample["model"]: sample["quality"]},
            cost={sample["model"]: sample["cost"]} if sample.get("cost") is not None else {},
        )


def split(rows: list[Row], part: float, seed: int = 7) -> tuple[list[Row], list[Row]]:
    """Shuffled by `seed`: (training, hold-out of `part`)."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    held = max(1, int(len(mixed) * part))
    return mixed[held:], mixed[:held]


def models_of(rows: list[Row]) -> list[str]:
    """The models of the rows, the cheapest first by their mean cost."""
    return sorted(
        {name for row in rows for name in row.quality}, key=lambda name: (mean_cost(rows, name), name)
    )


def mean_cost(rows: list[Row], model: str) -> float:
    """Mean cost of a model where it is known."""
    costs = [row.cost[model] for row in rows if model in row.cost]
    return sum(costs) / len(costs) if costs else 0.0
