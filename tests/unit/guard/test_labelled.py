"""How presets do on labelled texts: not worse than published, and the page says what is so."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
PRESETS = ["bank", "cards", "email", "jailbreak", "phone", "prompt_injection", "secrets"]
IN_OWN_WORDS = {"jailbreak", "prompt_injection"}


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
    assert len(good) >= 40
    assert len(bad) >= 40
    assert len({*good, *bad}) == len(good) + len(bad)


def test_what_is_found_and_what_is_left_alone(page: ModuleType):
    figures = page.measured()
    assert list(figures) == PRESETS
    for preset, of in figures.items():
        assert of.recall >= (0.8 if preset in IN_OWN_WORDS else 0.95), preset
        assert of.precision >= (0.9 if preset in IN_OWN_WORDS else 0.95), preset


@pytest.mark.parametrize("preset", PRESETS)
def test_disguises_do_not_help(page: ModuleType, preset: str):
    for disguise, share in page.evaded(preset).items():
        assert share >= (0.3 if disguise in ("spacing", "dots") else 0.99), disguise


def test_the_page_is_up_to_date(page: ModuleType):
    assert page.rendered() == page.PAGE.read_text("utf-8"), "run scripts/guardrails_page.py"
