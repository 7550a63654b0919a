"""`guardrails:` of a LiteLLM `config.yaml` → ours. What is not understood is noted, a whole guardrail too.

Facts about the format: https://docs.litellm.ai/docs/proxy/guardrails/quick_start.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from ailink.config.litellm_models import ENV_PREFIX, Notes, quoted, scalar_text
from ailink.config.problems import Path, Place
from ailink.config.yaml12 import Mapping as MappingNode
from ailink.config.yaml12 import Node, Scalar
from ailink.config.yaml12 import Sequence as SequenceNode


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A guardrail of LiteLLM's: our check, and their parameters under our names."""

    check: str
    renamed: Mapping[str, str] = {}
    action: str = "block"


_KEYED: Final = {"api_key": "api_key", "api_base": "api_base"}
_AWS: Final = {
    "aws_region_name": "region",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_ROLE: Final = {
    "aws_role_name": "role_arn",
    "aws_session_name": "session_name",
    "aws_profile_name": "profile",
    "aws_external_id": "external_id",
    "aws_sts_endpoint": "sts_endpoint",
}
_AZURE: Final = {"api_key": "api_key", "api_base": "endpoint", "api_version": "api_version"}
_SEVERITY: Final = {
    "severity_threshold": "severity",
    "categories": "categories",
    "blocklistNames": "blocklists",
}
_LAKERA: Final = Kind(
    check="lakera", renamed={**_KEYED, "project_id": "project_id", "breakdown": "breakdown"}
)
KINDS: Final[Mapping[str, Kind]] = {
    "aporia": Kind(check="aporia", renamed=_KEYED),
    "azure/prompt_shield": Kind(check="azure_prompt_shield", renamed=_AZURE),
    "azure/text_moderations": Kind(
        check="azure_content_safety",
        renamed={**_AZURE, **_SEVERITY},
    ),
    "bedrock": Kind(
        check="bedrock",
        renamed={**_AWS, "guardrailIdentifier": "guardrail_id", "guardrailVersion": "guardrail_version"},
    ),
    "generic_guardrail_api": Kind(
        check="generic_guardrail_api",
        renamed={**_KEYED, "additional_provider_specific_params": "additional_provider_specific_params"},
    ),
    "lakera": _LAKERA,
    "lakera_v2": _LAKERA,
    "lasso": Kind(check="lasso", renamed=_KEYED),
    "model_armor": Kind(
        check="model_armor",
        renamed={
            "template_id": "template",
            "project_id": "project",
            "location": "location",
            "api_key": "access_token",
        },
    ),
    "openai_moderation": Kind(check="openai_moderation", renamed={**_KEYED, "model": "model"}),
    "pangea": Kind(
        check="pangea",
        renamed={**_KEYED, "pangea_input_recipe": "recipe", "pangea_output_recipe": "output_recipe"},
    ),
    "panw_prisma_airs": Kind(
        check="panw_prisma_airs", renamed={**_KEYED, "profile_name": "profile_name", "app_name": "app_name"}
    ),
    "pillar": Kind(check="pillar", renamed=_KEYED),
    "presidio": Kind(
        check="presidio",
        renamed={"presidio_analyzer_api_base": "analyzer", "presidio_language": "language"},
        action="redact",
    ),
    "prompt_security": Kind(check="prompt_security", renamed=_KEYED),
}
_SIDES: Final = {"pre_call": "input", "during_call": "input", "post_call": "output", "logging_only": "input"}
# What has no effect because it is done anyway.
_DONE: Final = frozenset(
    {"presidio_anonymizer_api_base", "run_in_parallel", "guardrail", "mode", "default_on"}
)


class Guardrails:
    """What the section comes to: our list, and the names that hold for every model."""

    def __init__(self, env: Mapping[str, str], notes: Notes) -> None:
        self._env = env
        self._notes = notes
        self.items: list[Node] = []
        self.defaults: list[Node] = []

    def read(self, node: Node) -> None:
        """Reads the section."""
        if not isinstance(node, SequenceNode):
            self._notes.unknown(("guardrails",), node.place)
            return
        for index, item in enumerate(node.items):
            path: Path = ("guardrails", index)
            entries = item.entries if isinstance(item, MappingNode) else {}
            name, params = entries.get("guardrail_name"), entries.get("litellm_params")
            if not isinstance(name, Scalar) or not isinstance(params, MappingNode):
                text = "needs `guardrail_name` and `litellm_params`: it has no effect"
                self._notes.add(path, item.place, text)
                continue
            if isinstance(item, MappingNode):
                for key in entries.keys() - {
                    "guardrail_name",
                    "litellm_params",
                    "guardrail_info",
                    "guardrail_id",
                }:
                    self._notes.unknown((*path, key), item.keys[key])
            self._item(name, params, (*path, "litellm_params"))

    def _item(self, name: Scalar, params: MappingNode, path: Path) -> None:
        kind = scalar_text(params.entries.get("guardrail", name)) or ""
        known = KINDS.get(kind)
        if known is None and kind != "hide-secrets":
            text = f"the guardrail `{kind}` is not supported in this version: it has no effect"
            self._notes.add((*path, "guardrail"), params.place, text)
            return
        modes = self._modes(params, path)
        if not modes:
            return
        entries: dict[str, Node] = {}
        if known is None:
            entries["presets"] = _list(params.place, ["secrets"])
            action = "redact"
            rest = dict(params.entries)
        else:
            action, rest = known.action, dict(params.entries)
            given = self._parameters(known, params, path, rest)
            check = _mapping(params.place, {known.check: _mapping(params.place, given)})
            entries["checks"] = SequenceNode(place=params.place, items=[check])
        entries |= self._common(params, path, rest, action)
        for key in rest:
            self._notes.unknown((*path, key), params.keys[key])
        self._place(name, params, entries, modes)

    def _place(self, name: Scalar, params: MappingNode, entries: dict[str, Node], modes: list[str]) -> None:
        """Beside the provider there is no answer to look at: that takes a guardrail of its own."""
        always = scalar_text(params.entries.get("default_on", name)) in {"true", "True", "TRUE"}
        groups: list[tuple[str, list[str], str]] = []
        if "logging_only" in modes:
            groups.append((name.text, ["input", "output"], "async"))
        else:
            before = sorted({_SIDES[mode] for mode in modes if mode != "during_call"})
            if before:
                groups.append((name.text, before, "before"))
            if "during_call" in modes and "input" not in before:
                groups.append((f"{name.text}.during" if before else name.text, ["input"], "during"))
        for label, sides, run in groups:
            own = {**entries, "name": quoted(name.place, label), "scan": _list(params.place, sides)}
            if "checks" in entries:
                own["run"] = quoted(params.place, run)
            elif run == "async":
                own["mode"] = quoted(params.place, "shadow")
            self.items.append(_mapping(name.place, own))
            if always:
                self.defaults.append(quoted(name.place, label))

    def _modes(self, params: MappingNode, path: Path) -> list[str]:
        node = params.entries.get("mode")
        found = [scalar_text(item) for item in node.items] if isinstance(node, SequenceNode) else []
        if isinstance(node, Scalar):
            found = [node.text]
        modes = [mode for mode in found if mode in _SIDES]
        if len(modes) < max(len(found), 1):
            text = f"`mode` is one of {', '.join(_SIDES)}, or a list of them: others have no effect"
            self._notes.add((*path, "mode"), (node or params).place, text)
        return modes

    def _parameters(
        self, kind: Kind, params: MappingNode, path: Path, rest: dict[str, Node]
    ) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for theirs, ours in kind.renamed.items():
            node = rest.pop(theirs, None)
            if node is not None and (value := self._value(node, (*path, theirs))) is not None:
                found[ours] = value
        if kind.check == "presidio":
            self._presidio(found, params, rest)
        if kind.check == "bedrock":
            self._role(found, params, path, rest)
        if (timeout := rest.pop("timeout", None)) is not None and (text := scalar_text(timeout)):
            found["timeout"] = quoted(timeout.place, f"{text}s")
        return found

    def _role(self, found: dict[str, Node], params: MappingNode, path: Path, rest: dict[str, Node]) -> None:
        """A role or a profile is an identity, made with the keys where there are any."""
        named = {theirs: ours for theirs, ours in _ROLE.items() if theirs in rest}
        if not named.keys() & {"aws_role_name", "aws_profile_name"}:
            return
        own = {key: found.pop(key) for key in _AWS.values() if key in found and key != "region"}
        for theirs, ours in named.items():
            if (value := self._value(rest.pop(theirs), (*path, theirs))) is not None:
                own[ours] = value
        found["identity"] = _mapping(params.place, {"aws": _mapping(params.place, own)})

    def _value(self, node: Node, path: Path) -> Node | None:
        if isinstance(node, Scalar) and node.text.startswith(ENV_PREFIX):
            return self._notes.reference(node, path, self._env)
        return node

    def _presidio(self, found: dict[str, Node], params: MappingNode, rest: dict[str, Node]) -> None:
        entities = rest.pop("pii_entities_config", None)
        if isinstance(entities, MappingNode) and entities.entries:
            found["entities"] = _list(entities.place, list(entities.entries))
            blocked = [name for name, node in entities.entries.items() if scalar_text(node) == "BLOCK"]
            found["block"] = _list(entities.place, blocked)
        scores = rest.pop("presidio_score_thresholds", None)
        if isinstance(scores, MappingNode):
            own = {name: node for name, node in scores.entries.items() if name != "ALL"}
            found["thresholds"] = _mapping(scores.place, own)
            if "ALL" in scores.entries:
                found["threshold"] = scores.entries["ALL"]
        if isinstance(ignored := rest.pop("presidio_entities_deny_list", None), SequenceNode):
            found["ignore"] = ignored

    def _common(self, params: MappingNode, path: Path, rest: dict[str, Node], action: str) -> dict[str, Node]:
        for key in _DONE:
            rest.pop(key, None)
        masks = [rest.pop(key, None) for key in ("mask_request_content", "mask_response_content")]
        if any(node is not None and scalar_text(node) in {"true", "True"} for node in masks):
            action = "redact"
        flagged = rest.pop("on_flagged_action", None)
        if flagged is not None and scalar_text(flagged) == "monitor":
            action = "flag"
        found: dict[str, Node] = {"action": quoted(params.place, action)}
        unreachable, fails = rest.pop("unreachable_fallback", None), rest.pop("fail_on_error", None)
        opens = unreachable is not None and scalar_text(unreachable) == "fail_open"
        if opens or (fails is not None and scalar_text(fails) in {"false", "False"}):
            found["on_error"] = quoted(params.place, "skip")
        return found


def _list(place: Place, texts: list[str]) -> SequenceNode:
    return SequenceNode(place=place, items=[quoted(place, text) for text in texts])


def _mapping(place: Place, entries: Mapping[str, Node]) -> MappingNode:
    return MappingNode(
        place=place, entries=dict(entries), keys={key: node.place for key, node in entries.items()}
    )
