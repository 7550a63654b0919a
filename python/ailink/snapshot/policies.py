"""Policies of the configuration and of the store → those of the snapshot."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Final

import msgspec

from ailink.config.guardrails import Guardrail
from ailink.config.policies import PolicyRule, Redact
from ailink.config.policy_rows import Numbers, targets, then_json
from ailink.config.schema import Config
from ailink.config.zones import offsets
from ailink.snapshot import model as wire
from ailink.snapshot.guardrails import compile_guardrails

OWN: Final = "policy:"
"""Before the names of the guardrails that policies bring themselves."""
_EPOCH: Final = date(1970, 1, 1)


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """A policy with its version. `trusted`: the operator's own file, so that its URLs may be private."""

    rule: PolicyRule
    version: int = 1
    trusted: bool = True


class CompiledPolicies(msgspec.Struct, frozen=True, kw_only=True):
    policies: wire.Policies
    guardrails: list[wire.Guardrail]
    """Those of the configuration and those that policies bring."""


def compile_policies(
    config: Config, stored: Sequence[Versioned] = (), plugin_socket: str = ""
) -> CompiledPolicies:
    """Raises ZoneError, KeyError for a name that is gone."""
    rules = [*(Versioned(rule=rule) for rule in config.policies), *stored]
    return _Compiler(config, rules, compile_guardrails(config.guardrails, plugin_socket)).run()


class _Compiler:
    def __init__(self, config: Config, rules: Sequence[Versioned], guardrails: list[wire.Guardrail]) -> None:
        self._config = config
        self._rules = rules
        self._zones: dict[str, int] = {"UTC": 0}
        self._guardrails = guardrails
        names = {rule.name: number for number, rule in enumerate(config.guardrails)}
        self._numbers = Numbers(named=names.__getitem__, found=self._finder)

    def run(self) -> CompiledPolicies:
        policies = [self._policy(rule) for rule in self._rules]
        year = datetime.now(UTC).year
        told = wire.Policies(
            policies=policies,
            attachments=self._attachments(),
            zones=[list(offsets(name, year)) if name != "UTC" else [] for name in self._zones],
            calendars={
                name: [(date.fromisoformat(day) - _EPOCH).days for day in days]
                for name, days in self._config.calendars.items()
            },
            keep=self._config.recording.keep,
        )
        return CompiledPolicies(policies=told, guardrails=self._guardrails)

    def _policy(self, versioned: Versioned) -> wire.Policy:
        rule = versioned.rule
        return wire.Policy(
            name=rule.name,
            version=versioned.version,
            phase=rule.phase,
            shadow=rule.mode == "shadow",
            priority=rule.priority,
            when=None if rule.when is None else str(rule.when),
            then=then_json(rule, self._numbers, trusted=versioned.trusted),
            zone=self._zones.setdefault(rule.timezone, len(self._zones)),
        )

    def _finder(self, rule: PolicyRule, redact: Redact) -> list[int]:
        """The guardrail that finds what is redacted."""
        if not (redact.presets or redact.words or redact.patterns):
            return []
        finder = Guardrail(
            name=f"{OWN}{rule.name}",
            presets=redact.presets,
            words=redact.words,
            patterns=redact.patterns,
            label=redact.label,
            scan=("input",) if rule.phase == "pre" else ("output",),
            action=redact.action,
        )
        self._guardrails += compile_guardrails([finder])
        return [len(self._guardrails) - 1]

    def _attachments(self) -> list[wire.Attachment]:
        numbers = {one.rule.name: number for number, one in enumerate(self._rules)}
        found: dict[tuple[str, str], list[int]] = {}

        def attach(kind: str, name: str, policies: Iterable[str]) -> None:
            found.setdefault((kind, name), []).extend(numbers[policy] for policy in policies)

        if self._config.defaults.policies:
            attach("default", "", self._config.defaults.policies)
        aliases = {alias: model.name for model in self._config.models for alias in model.aliases}
        for model in self._config.models:
            if model.policies:
                attach("model", model.name, model.policies)
        for one in self._rules:
            for kind, name in targets(one.rule.attach):
                attach(kind, aliases.get(name, name) if kind == "model" else name, [one.rule.name])
        return [
            wire.Attachment(kind=kind, id=name, policies=sorted(set(policies)))
            for (kind, name), policies in found.items()
        ]
