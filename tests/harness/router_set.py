# ruff: noqa: E501, ISC004 - templates read better on one line
"""A set for learned routing in the shape of public ones: prompts of several kinds with what three models of
rising ability and price are worth there. Made from templates by a seeded generator, so that everybody has the
same rows.
"""

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

MODELS = ("small", "medium", "large")
# USD per million tokens: input, output.
PRICES = {"small": (0.15, 0.6), "medium": (0.8, 4.0), "large": (5.0, 25.0)}
# How hard a task a model does well, and how fast it loses beyond that.
ABILITY = {"small": 0.34, "medium": 0.6, "large": 0.97}

TOPICS = (
    "caching", "photosynthesis", "inflation", "the French Revolution", "neural networks", "tax law", "sorting",
    "black holes", "contract terms", "marathon training", "supply chains", "vaccines", "compilers", "opera",
    "soil chemistry", "chess openings", "insurance claims", "jet engines", "tourism", "poetry",
)  # fmt: skip
WORDS = ("apple", "river", "window", "quick", "happy", "journey", "letter", "garden", "silent", "bridge")
LANGUAGES = ("French", "German", "Spanish", "Italian", "Polish", "Japanese")


class Kind(NamedTuple):
    """A kind of prompts: how hard they are, how long answers get, and how they are worded."""

    hardness: float
    tokens: int
    templates: tuple[str, ...]


KINDS = (
    Kind(0.05, 20, ("Hi, how are you?", "Thanks for the {word}!", "Say hello to my {word}.", "Hello again")),
    Kind(0.1, 40, ("Translate \"the {word} is {word2}\" to {language}.", "How do you say {word} in {language}?")),
    Kind(0.12, 15, ("What is a synonym of {word}?", "Spell {word} backwards.", "Name a rhyme of {word}.")),
    Kind(0.2, 120, ("Summarize in one sentence what {topic} is.", "Define {topic}.", "Give {topic} a short title.")),
    Kind(0.3, 250, ("Write a friendly email to my landlord about {topic}.", "List five facts about {topic}.")),
    Kind(0.45, 500, ("Explain {topic} to a student and compare it with {topic2}.",
                     "Write an outline of an essay about {topic} with {n} sections.")),
    Kind(0.5, 400, ("Write a Python function that parses {word} records from a file and returns a dict.",
                    "Write a SQL query: select every {word} where the {word2} is null, grouped by month.")),
    Kind(0.7, 900, ("```python\ndef {word}(items):\n    return [f(i) for i in items if i.{word2} > {n}]\n```\nDebug and"
                    " refactor this function; it must be async, ensure the order of results and implement tests.",
                    "Design the architecture of a service for {topic}: it must survive {n} failures.\n- ordering"
                    "\n- backpressure\nAnalyze the tradeoffs and justify every constraint.")),
    Kind(0.85, 1500, ("Prove that the algorithm for {topic} terminates after n^{n} steps. Derive its complexity, state"
                      " each theorem that is used and justify the optimal strategy step by step.",
                      "Let f(x) = x^{n} + {n2}x. Derive the integral, estimate the probability that it exceeds {n},"
                      " prove the bound and compare it with the equation of {topic}. Reason step by step.")),
)  # fmt: skip


def rows(count: int, seed: int = 20) -> list[dict[str, Any]]:
    """Prompts with `quality` and `cost` by model."""
    draw = random.Random(seed)
    return [_row(draw) for _ in range(count)]


def _row(draw: random.Random) -> dict[str, Any]:
    kind = draw.choices(KINDS, weights=(8, 10, 10, 14, 16, 14, 12, 9, 7))[0]
    prompt = draw.choice(kind.templates).format(
        word=draw.choice(WORDS), word2=draw.choice(WORDS), topic=draw.choice(TOPICS),
        topic2=draw.choice(TOPICS), language=draw.choice(LANGUAGES), n=draw.randint(2, 9),
        n2=draw.randint(10, 99),
    )  # fmt: skip
    if draw.random() < 0.25:
        prompt += f" Please keep in mind that it is for {draw.choice(TOPICS)}."
    hardness = min(1.0, max(0.0, draw.gauss(kind.hardness, 0.07)))
    quality = {name: _quality(draw, hardness, ability) for name, ability in ABILITY.items()}
    tokens = max(5, int(draw.gauss(kind.tokens, kind.tokens / 5)))
    cost = {
        name: (len(prompt) / 4 * price[0] + tokens * price[1]) / 1_000_000 for name, price in PRICES.items()
    }
    return {"prompt": prompt, "quality": quality, "cost": cost}


def _quality(draw: random.Random, hardness: float, ability: float) -> float:
    beyond = max(0.0, hardness - ability)
    return round(min(1.0, max(0.0, draw.gauss(0.93 - 2.6 * beyond, 0.05))), 3)


def write(file: Path, count: int, seed: int = 20) -> Path:
    """As `ailink router train --data` reads it."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(count, seed)))
    return file
