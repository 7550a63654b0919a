"""Names that guardrails use must exist, and a rule must look for something."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path as FilePath

from ailink import _core
from ailink.config import named_checks as checks
from ailink.config import python_checks
from ailink.config.problems import Path, did_you_mean
from ailink.config.schema import Config
from ailink.guard import load

WORDS_MAX = 1_000_000
"""Bytes of words of one rule."""
TTL_MIN_MS, TTL_MAX_MS = 60_000, 3_650 * 86_400_000


def faults(
    config: Config, kept: Callable[[Path], Iterable[int]], directory: FilePath | None
) -> Iterator[tuple[Path, str]]:
    """Where and what. `kept`: places in the file of the list items that were read; `directory`: its own."""
    presets = load()
    names: set[str] = set()
    for index, rule in zip(kept(("guardrails",)), config.guardrails, strict=False):
        path: Path = ("guardrails", index)
        if rule.name in names:
            yield (*path, "name"), f"there are two guardrails named `{rule.name}`"
        names.add(rule.name)
        if not (rule.presets or rule.words or rule.patterns or rule.checks):
            yield path, "looks for nothing: give `presets`, `words`, `patterns` or `checks`"
        yield from (((*path, *place), text) for place, text in checks.faults(rule))
        if rule.patterns:
            for place, text in _core.pattern_faults(list(rule.patterns), rule.ignore_case):
                yield (*path, "patterns", place), text
        if rule.action == "tokenize":
            if rule.checks:
                yield (
                    (*path, "action"),
                    "`tokenize` is for `presets`, `words` and `patterns`, not for `checks`",
                )
            if "output" in rule.scan:
                yield (
                    (*path, "scan"),
                    "`tokenize` looks at `input`: the answer gets the values back by itself",
                )
        if rule.action == "webhook" and rule.webhook is None:
            yield (*path, "action"), "tells nobody: give `webhook: {url: …}`"
        if rule.action == "retry" and "input" in rule.scan:
            yield (*path, "scan"), "`retry` asks for another answer, so it looks at `output` alone"
        if rule.action in ("fallback", "retry") and rule.stream == "audit":
            yield (*path, "stream"), f"`{rule.action}` has to know a stream before any of it leaves"
        if rule.vault == "tenant" and not TTL_MIN_MS <= rule.vault_ttl <= TTL_MAX_MS:
            yield (*path, "vault_ttl"), "must be between 1m and 3650d"
        if not rule.scan:
            yield (*path, "scan"), "scans nothing: give `input`, `output` or both"
        if sum(len(word.encode()) for word in rule.words) > WORDS_MAX:
            yield (*path, "words"), f"are longer than {WORDS_MAX} bytes together; split the rule"
        for place, name in enumerate(rule.presets):
            if name not in presets:
                yield (*path, "presets", place), f"no preset `{name}`{did_you_mean(name, presets)}"
    yield from _files(config, kept, directory)
    yield from _uses(config, kept, names)


def _files(
    config: Config, kept: Callable[[Path], Iterable[int]], directory: FilePath | None
) -> Iterator[tuple[Path, str]]:
    """What is wrong with the files that guardrails are in."""
    if directory is None:
        return
    numbers = [number for number, _ in zip(kept(("guardrails",)), config.guardrails, strict=False)]
    for one in python_checks.found(config.guardrails):
        fault = python_checks.fault(one.check, directory)
        if fault is not None:
            yield ("guardrails", numbers[one.rule], "checks", one.at), f"{python_checks.NAME}: {fault}"


def _uses(
    config: Config, kept: Callable[[Path], Iterable[int]], names: set[str]
) -> Iterator[tuple[Path, str]]:
    for place, name in enumerate(config.defaults.guardrails):
        if name not in names:
            yield ("defaults", "guardrails", place), f"no guardrail `{name}`{did_you_mean(name, names)}"
    for index, model in zip(kept(("models",)), config.models, strict=False):
        for place, name in enumerate(model.guardrails):
            if name not in names:
                yield (
                    ("models", index, "guardrails", place),
                    f"no guardrail `{name}`{did_you_mean(name, names)}",
                )
