"""How presets do on labelled texts: not worse than published, and the page says what is so."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ailink.guard import load

ROOT = Path(__file__).parent.parent.parent.parent
IN_OWN_WORDS = {
    "confidential",
    "drugs",
    "finance_advice",
    "hate",
    "jailbreak",
    "profanity",
    "prompt_injection",
    "self_harm",
    "violence",
}
"""Topics: what people say in words of their own."""
PRESETS = sorted(load())
WELL_KNOWN = {"bank", "cards", "email", "jailbreak", "phone", "prompt_injection", "secrets"}


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guardrails_page", ROOT / "scripts" / "guardrails_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("preset", PRESETS)
def test_there_are_enough_texts_and_each_is_there_once(page: ModuleType, preset: str):
    good, bad = page.labelled(preset)
    assert len(good) >= (40 if preset in WELL_KNOWN else 8)
    assert len(bad) >= (40 if preset in WELL_KNOWN else 10)
    assert len({*good, *bad}) == len(good) + len(bad)


def test_what_is_found_and_what_is_left_alone(page: ModuleType):
    figures = page.measured()
    assert list(figures) == PRESETS
    for preset, of in figures.items():
        own = preset in IN_OWN_WORDS
        assert of.recall >= (0.7 if own else 0.95), preset
        assert of.precision >= 0.9, preset


@pytest.mark.parametrize("preset", PRESETS)
def test_disguises_do_not_help(page: ModuleType, preset: str):
    if preset == "invisible":
        # What cannot be seen is itself the finding, and is resolved where it is written out.
        return
    for disguise, share in page.evaded(preset).items():
        # Runs of less than 16 letters are not taken for an encoding, single letters not for a word.
        least = 0.15 if disguise in ("spacing", "dots") else 0.75 if disguise in page.ASKED else 0.99
        assert share >= least, disguise


def test_the_page_is_up_to_date(page: ModuleType):
    assert page.rendered() == page.PAGE.read_text("utf-8"), "run scripts/guardrails_page.py"
