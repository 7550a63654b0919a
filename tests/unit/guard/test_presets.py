"""Every pattern of every preset finds its examples and leaves its counter-examples alone."""

import msgspec
import pytest

from ailink import _core
from ailink.guard import Pattern, load, presets
from ailink.snapshot import model as wire

PATTERNS = [
    (name, at, pattern) for name, preset in load().items() for at, pattern in enumerate(preset.patterns)
]


def rule(*patterns: Pattern) -> wire.Guardrail:
    return wire.Guardrail(
        name="tried",
        input=True,
        output=False,
        action="redact",
        shadow=False,
        fails_closed=True,
        stream="window",
        checks=None,
        keeps_s=0,
        normalise=[],
        patterns=[
            wire.Pattern(
                label=pattern.label,
                regex=pattern.regex,
                words=list(pattern.words),
                whole=True,
                ignore_case=pattern.ignore_case,
                validator=pattern.validator,
            )
            for pattern in patterns
        ],
    )


def labels(text: str, *patterns: Pattern) -> list[str]:
    trial = wire.GuardTrial(guardrails=[rule(*patterns)], text=text, output=False)
    found = msgspec.msgpack.decode(_core.guard_trial(msgspec.msgpack.encode(trial)))
    return [match["label"] for match in found["matches"]]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [pytest.param(name, pattern, id=f"{name}-{at}-{pattern.label}") for name, at, pattern in PATTERNS],
)
def test_examples(name, pattern):
    for text in pattern.finds:
        starts_a_line = "(?:^" in (pattern.regex or "") or "\n" in text
        for around in (text, text if starts_a_line else f"see {text} now"):
            assert labels(around, pattern), f"{name}: {pattern.label} does not find {around!r}"
    for text in pattern.spares:
        assert not labels(text, pattern), f"{name}: {pattern.label} finds {text!r}"


def test_there_are_enough_of_them():
    assert len(load()) >= 25
    assert len(PATTERNS) >= 150


def test_every_validator_and_form_is_known():
    known = set(_core.guard_validators())
    for name, _, pattern in PATTERNS:
        assert (pattern.regex is None) != (not pattern.words), (name, pattern.label)
        assert pattern.validator is None or pattern.validator in known, (name, pattern.label)


def test_presets_include_each_other_once():
    everything = presets.patterns(tuple(load()))
    assert len(everything) == len(PATTERNS)
    assert {pattern.label for pattern in presets.patterns(("secrets",))} >= {
        "OPENAI_KEY",
        "STRIPE_KEY",
        "JWT",
    }
