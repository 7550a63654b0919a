"""Guardrails of the configuration → those of the snapshot."""

from collections.abc import Iterable

from ailink.config import named_checks as checks
from ailink.config.guardrails import Guardrail, Notice
from ailink.config.schema import Config, Model
from ailink.guard import presets
from ailink.snapshot import model as wire


def compile_guardrails(rules: Iterable[Guardrail], plugin_socket: str = "") -> list[wire.Guardrail]:
    """In the order of the file, which is how models refer to them."""
    return [_rule(rule, plugin_socket) for rule in rules]


def chosen(model: Model, config: Config) -> list[int]:
    """The numbers of a model's guardrails: the default ones and its own."""
    names = {*config.defaults.guardrails, *model.guardrails}
    return [number for number, rule in enumerate(config.guardrails) if rule.name in names]


def _rule(rule: Guardrail, plugin_socket: str) -> wire.Guardrail:
    patterns = [
        wire.Pattern(
            label=found.label,
            regex=found.regex,
            words=list(found.words),
            whole=True,
            ignore_case=found.ignore_case,
            validator=found.validator,
        )
        for found in presets.patterns(rule.presets)
    ]
    if rule.words:
        patterns.append(_own(rule, regex=None, words=list(rule.words), ignore_case=True))
    patterns += [_own(rule, regex=text, words=[], ignore_case=rule.ignore_case) for text in rule.patterns]
    return wire.Guardrail(
        name=rule.name,
        input="input" in rule.scan,
        output="output" in rule.scan,
        action="log" if rule.action == "webhook" else rule.action,
        shadow=rule.mode == "shadow",
        fails_closed=rule.on_error == "fail",
        stream=rule.stream,
        normalise=list(rule.normalise),
        patterns=patterns,
        checks=checks.compiled(rule, plugin_socket),
        keeps_s=rule.vault_ttl // 1_000 if rule.vault == "tenant" else 0,
        unscannable=rule.unscannable,
        webhook=None if rule.webhook is None else _notice(rule.webhook),
    )


def _notice(told: Notice) -> wire.Notice:
    return wire.Notice(url=told.url, secret=None if told.secret is None else told.secret.reveal())


def _own(rule: Guardrail, *, regex: str | None, words: list[str], ignore_case: bool) -> wire.Pattern:
    return wire.Pattern(
        label=rule.label, regex=regex, words=words, whole=True, ignore_case=ignore_case, validator=None
    )
