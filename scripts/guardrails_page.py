#!/usr/bin/env python3
"""Writes the figures of the presets into docs/guardrails.md: precision and recall on the labelled texts of
tests/data/guardrails, how much of what the presets find is still found in disguise, and what the last
complete run of the tests that try to get around guardrails found
(`AILINK_FULL=1 pytest tests/promises/test_p10_* --figures tests/data/guardrails/splits.json`).
Needs the built extension: `.venv/bin/python scripts/guardrails_page.py`; `--check` says whether it is right.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ailink import _core
from ailink.guard import load, presets
from ailink.snapshot import model as wire

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "guardrails.md"
LABELLED: Final = ROOT / "tests" / "data" / "guardrails"
SPLITS: Final = LABELLED / "splits.json"
EVERYTHING: Final = ("spacing", "base64", "hex")

LOOKALIKES: Final = str.maketrans("aceopxyABCEHIKMOPTX", "асеорхуАВСЕНІКМОРТХ")
STYLED: Final = {
    **{chr(65 + at): chr(0x1D400 + at) for at in range(26)},
    **{chr(97 + at): chr(0x1D41A + at) for at in range(26)},
    **{chr(48 + at): chr(0x1D7CE + at) for at in range(10)},
}


def each(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(change(character) for character in text)


def letters(change: Callable[[str], str]) -> Callable[[str], str]:
    return each(
        lambda character: change(character) if character.isalnum() and character.isascii() else character
    )


DISGUISES: Final[Mapping[str, Callable[[str], str]]] = {
    "zero width": lambda text: "\u200b".join(text),
    "full width": each(lambda c: chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c),
    "look-alikes": lambda text: text.translate(LOOKALIKES),
    "styled": lambda text: text.translate({ord(plain): styled for plain, styled in STYLED.items()}),
    "accents": letters(lambda c: c + "\u0301"),
    "tags": each(lambda c: chr(0xE0000 + ord(c)) if " " <= c <= "~" else c),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "\\u": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "entities": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "spacing": lambda text: " ".join(text),
    "dots": lambda text: ".".join(text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
}
ASKED: Final = ("spacing", "dots", "base64", "hex")
"""Disguises that are seen through where a rule asks for it."""


class Figures(NamedTuple):
    """How a preset does on its labelled texts. `unseen`: found of how many written after its patterns."""

    unseen: tuple[int, int]
    positives: int
    found: int
    negatives: int
    wrong: int

    @property
    def recall(self) -> float:
        return self.found / self.positives

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 0.0


def finder(preset: str, normalise: Iterable[str] = ()) -> Callable[[str], bool]:
    """Whether the preset finds something in a text."""
    patterns = [
        wire.Pattern(
            label=found.label, regex=found.regex, words=list(found.words), whole=True,
            ignore_case=found.ignore_case, validator=found.validator,
        )
        for found in presets.patterns((preset,))
    ]  # fmt: skip
    rule = wire.Guardrail(
        name=preset, input=True, output=False, action="flag", shadow=False, fails_closed=True,
        stream="window", normalise=list(normalise), checks=None, keeps_s=0, patterns=patterns,  # type: ignore[arg-type]
    )  # fmt: skip
    trial = wire.GuardTrial(guardrails=[rule], text="", output=False)
    compiled = _core.GuardSet(msgspec.msgpack.encode(trial))
    return lambda text: compiled.judge(json.dumps({"text": text}, ensure_ascii=False).encode()) > 0


def labelled(preset: str) -> tuple[list[str], list[str]]:
    """Texts that a preset has to find, and such that it has to leave alone. One that only includes others
    has to find what they have to find.
    """
    lines = (LABELLED / f"{preset}.txt").read_text("utf-8").splitlines()
    good = [line[2:] for line in lines if line.startswith("+ ")]
    included = (text for name in load()[preset].includes for text in labelled(name)[0])
    return good or list(dict.fromkeys(included)), [line[2:] for line in lines if line.startswith("- ")]


def unseen(preset: str) -> list[str]:
    """Texts to find that were written after the patterns."""
    _, _, rest = (LABELLED / f"{preset}.txt").read_text("utf-8").partition("# unseen\n")
    return [line[2:] for line in rest.splitlines() if line.startswith("+ ")]


@cache
def measured() -> dict[str, Figures]:
    """The figures of every preset that has labelled texts."""
    out = {}
    for file in sorted(LABELLED.glob("*.txt")):
        good, bad = labelled(file.stem)
        finds = finder(file.stem)
        late = unseen(file.stem)
        out[file.stem] = Figures(
            (sum(map(finds, late)), len(late)),
            len(good),
            sum(map(finds, good)),
            len(bad),
            sum(map(finds, bad)),
        )
    return out


@cache
def evaded(preset: str) -> dict[str, float]:
    """The share of a preset's labelled matches that is still found, by disguise."""
    finds, asked = finder(preset), finder(preset, EVERYTHING)
    texts = [text for text in labelled(preset)[0] if finds(text)]
    return {
        name: sum((asked if name in ASKED else finds)(disguise(text)) for text in texts) / len(texts)
        for name, disguise in DISGUISES.items()
    }


def tables() -> Iterator[str]:
    """The lines of both tables."""
    yield "| preset | to find | found | to leave | found wrongly | recall | precision | of unseen |"
    yield "|---|---|---|---|---|---|---|---|"
    figures = measured()
    for preset, of in figures.items():
        yield (
            f"| `{preset}` | {of.positives} | {of.found} | {of.negatives} | {of.wrong} "
            f"| {of.recall:.2f} | {of.precision:.2f} "
            f"| {f'{of.unseen[0]} of {of.unseen[1]}' if of.unseen[1] else ''} |"
        )
    yield ""
    yield "Found of the same texts in disguise, in %:"
    yield ""
    names = [f"{name}{' *' if name in ASKED else ''}" for name in DISGUISES]
    yield f"| | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for preset in figures:
        yield f"| `{preset}` | {' | '.join(f'{100 * share:.0f}' for share in evaded(preset).values())} |"
    yield ""
    yield "\\* with `normalise: [spacing, base64, hex]`"


def listed() -> Iterator[str]:
    """The lines of the table of presets."""
    yield "| preset | patterns | |"
    yield "|---|---|---|"
    for name, preset in load().items():
        yield f"| `{name}` | {len(presets.patterns((name,)))} | {preset.title} |"


def splits() -> Iterator[str]:
    """The lines of what was tried over HTTP."""
    run = json.loads(SPLITS.read_text("utf-8"))
    yield "| tried | requests |"
    yield "|---|---|"
    for name, count in run["figures"].items():
        yield f"| {name} | {count:,} |"
    yield ""
    size = "complete" if run["full"] else "short"
    yield f"Measured on {run['date']}, {size} run: {run['failed']} failed."


def placed(text: str, name: str, lines: Iterable[str]) -> str:
    """The page with these lines between the marks of that name."""
    before, mark, rest = text.partition(f"<!-- {name} -->\n")
    if not mark:
        raise SystemExit(f"{PAGE} has no place for {name}")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    return "".join([before, mark, *(f"{line}\n" for line in lines), end, after])


def rendered() -> str:
    """The page with the tables of now."""
    page = PAGE.read_text("utf-8")
    for name, lines in (("figures", tables()), ("splits", splits()), ("presets", listed())):
        page = placed(page, name, lines)
    return page


def main() -> None:
    page = rendered()
    if "--check" in sys.argv:
        sys.exit(0 if page == PAGE.read_text("utf-8") else "docs/guardrails.md is out of date")
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    assert load()
    main()
