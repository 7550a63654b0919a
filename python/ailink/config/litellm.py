"""A LiteLLM `config.yaml` → the nodes of our own format, with the places of the original.

What is understood is listed here and in `litellm_models.py`; every other key becomes a note with its path and
line. Facts about the format: https://docs.litellm.ai/docs/proxy/configs.
"""

from collections.abc import Callable, Mapping, Set
from typing import Final

import msgspec

from ailink.config.litellm_cache import cache
from ailink.config.litellm_guardrails import Guardrails
from ailink.config.litellm_models import ENV_PREFIX, Group, Models, Notes, quoted, scalar_text, seconds
from ailink.config.litellm_router import RouterSettings
from ailink.config.problems import Path, Place, Problem
from ailink.config.yaml12 import Mapping as MappingNode
from ailink.config.yaml12 import Node, Scalar
from ailink.config.yaml12 import Sequence as SequenceNode
from ailink.providers import Registry

_SECTIONS: Final = frozenset({"model_list", "litellm_settings", "general_settings", "router_settings"})
_MAX_RETRIES: Final = 10
_FALLBACKS: Final = frozenset(
    {"fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks"}
)


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The converted tree, what was not understood, and the environment it is to be read with."""

    root: MappingNode
    notes: tuple[Problem, ...]
    env: Mapping[str, str]


def recognises(root: MappingNode) -> bool:
    """Whether the file is LiteLLM's and not ours."""
    return not root.entries.keys().isdisjoint(_SECTIONS) and "models" not in root.entries


def convert(root: MappingNode, registry: Registry, env: Mapping[str, str]) -> Conversion:
    """Never fails: what cannot be converted is left out and noted; the reader checks the rest."""
    return _Converter(root, registry, env).run()


class _Settings(msgspec.Struct, kw_only=True):
    """What the settings sections say, gathered before the models are written."""

    retries: Node | None = None
    total: Node | None = None
    first_byte: Node | None = None
    connections: Node | None = None
    """`max_parallel_requests` of deployments that have none."""
    fallbacks: dict[str, dict[str, list[Scalar]]] = {}
    """By kind, then by model."""
    default_fallbacks: list[Scalar] = []
    aliases: dict[str, list[Scalar]] = {}


class _Converter:
    def __init__(self, root: MappingNode, registry: Registry, env: Mapping[str, str]) -> None:
        self._root = root
        self._registry = registry
        self._notes = Notes()
        self._env = {**env, **self._own_environment(root)}
        self._settings = _Settings()
        self._router = RouterSettings(self._notes)
        self._entries: dict[str, Node] = {}

    def run(self) -> Conversion:
        readers: dict[str, Callable[[Node, Path], None]] = {
            "litellm_settings": self._litellm_settings,
            "router_settings": self._router_settings,
            "general_settings": self._general_settings,
        }
        guardrails = Guardrails(self._env, self._notes)
        for name, node in self._root.entries.items():
            if name in readers:
                readers[name](node, (name,))
            elif name == "guardrails":
                guardrails.read(node)
            elif name not in {"model_list", "credential_list", "environment_variables"}:
                self._notes.unknown((name,), self._root.keys[name])
        models = Models(self._registry, self._env, self._notes)
        groups = models.read(self._root.entries.get("model_list"), self._root.entries.get("credential_list"))
        place = self._root.place
        self._entries["models"] = self._models(groups)
        self._cache({group.name for group in groups})
        if (routing := self._router.routing(place)) is not None:
            self._entries["routing"] = routing
        if budgets := self._router.budgets:
            self._entries["budgets"] = _mapping(place, {"rules": SequenceNode(place=place, items=budgets)})
        if guardrails.items:
            self._entries["guardrails"] = SequenceNode(place=place, items=guardrails.items)
        if guardrails.defaults:
            named = SequenceNode(place=place, items=guardrails.defaults)
            self._entries["defaults"] = _mapping(place, {"guardrails": named})
        self._entries["compat"] = _mapping(
            place, {"restamp_model": Scalar(place=place, text="true", plain=True)}
        )
        return Conversion(
            root=_mapping(place, self._entries), notes=tuple(self._notes.problems), env=self._env
        )

    def _cache(self, models: Set[str]) -> None:
        node = self._root.entries.get("litellm_settings")
        if isinstance(node, MappingNode) and (found := cache(node, models, self._env, self._notes)):
            self._entries["cache"] = found

    def _own_environment(self, root: MappingNode) -> dict[str, str]:
        """`environment_variables`, which LiteLLM puts into its environment before it reads on."""
        node = root.entries.get("environment_variables")
        if not isinstance(node, MappingNode):
            if node is not None and scalar_text(node) != "":
                self._notes.unknown(("environment_variables",), node.place)
            return {}
        values = {}
        for name, entry in node.entries.items():
            text = scalar_text(entry)
            if text is None or text.startswith(ENV_PREFIX):
                self._notes.unknown(("environment_variables", name), node.keys[name])
            else:
                values[name] = text
        return values

    def _section(self, node: Node, path: Path) -> list[tuple[str, Node, Path, Place]]:
        if isinstance(node, MappingNode):
            return [(key, value, (*path, key), node.keys[key]) for key, value in node.entries.items()]
        if scalar_text(node) not in {"", "null", "~"}:
            self._notes.unknown(path, node.place)
        return []

    def _litellm_settings(self, node: Node, path: Path) -> None:
        for key, value, here, place in self._section(node, path):
            if key in _FALLBACKS:
                self._read_fallbacks(key, value, here)
            elif key == "num_retries":
                self._settings.retries = self._settings.retries or value
            elif key == "request_timeout":
                self._settings.total = self._settings.total or seconds(value, here, self._notes)
            elif key in {"cache", "cache_params"}:
                pass
            elif key != "allowed_fails" or not self._router.take(key, value, here, place):
                self._notes.unknown(here, place)

    def _router_settings(self, node: Node, path: Path) -> None:
        for key, value, here, place in self._section(node, path):
            if key in _FALLBACKS:
                self._read_fallbacks(key, value, here)
            elif key == "num_retries":
                self._settings.retries = value
            elif key == "timeout":
                self._settings.total = seconds(value, here, self._notes)
            elif key == "stream_timeout":
                self._settings.first_byte = seconds(value, here, self._notes)
            elif key == "model_group_alias":
                self._read_aliases(value, here)
            elif key == "default_max_parallel_requests":
                self._settings.connections = value
            elif not self._router.take(key, value, here, place):
                self._notes.unknown(here, place)

    def _general_settings(self, node: Node, path: Path) -> None:
        for key, value, here, place in self._section(node, path):
            if key != "master_key":
                self._notes.unknown(here, place)
            elif (found := self._notes.reference(value, here, self._env)) is not None:
                self._entries["master_key"] = found

    def _read_fallbacks(self, key: str, node: Node, path: Path) -> None:
        """`[{group: [name, …]}, …]`, group `*` for all others; `default_fallbacks` is a list of names."""
        if key == "default_fallbacks":
            self._settings.default_fallbacks += self._names(node, path)
            return
        for index, item in enumerate(node.items if isinstance(node, SequenceNode) else []):
            for group, names, here, _ in self._section(item, (*path, index)):
                found = self._names(names, here)
                if group == "*" and key == "fallbacks":
                    self._settings.default_fallbacks += found
                else:
                    self._settings.fallbacks.setdefault(key, {}).setdefault(group, []).extend(found)

    def _names(self, node: Node, path: Path) -> list[Scalar]:
        names = []
        for index, item in enumerate(node.items if isinstance(node, SequenceNode) else [node]):
            here = (*path, index)
            if isinstance(item, MappingNode) and item.entries.keys() == {"model"}:
                item = item.entries["model"]
            if isinstance(item, Scalar):
                names.append(quoted(item.place, item.text))
            else:
                text = "a fallback that changes the request is not supported in this version"
                self._notes.add(here, item.place, text)
        return names

    def _read_aliases(self, node: Node, path: Path) -> None:
        for alias, value, here, place in self._section(node, path):
            target = value.entries.get("model") if isinstance(value, MappingNode) else value
            if isinstance(value, MappingNode):
                for key in value.entries.keys() - {"model"}:
                    self._notes.unknown((*here, key), value.keys[key])
            if target is None or (text := scalar_text(target)) is None:
                self._notes.unknown(here, place)
            else:
                self._settings.aliases.setdefault(text, []).append(quoted(place, alias))

    def _models(self, groups: list[Group]) -> SequenceNode:
        names = [group.name for group in groups]
        fallbacks = {
            kind: self._fallbacks(kind, names) for kind in sorted(_FALLBACKS - {"default_fallbacks"})
        }
        for target, aliases in self._settings.aliases.items():
            if target not in names:
                text = f"the model `{target}` is not in the list: alias left out"
                self._notes.add(("router_settings", "model_group_alias"), aliases[0].place, text)
        items: list[Node] = []
        for group in groups:
            entries = dict(group.entries)
            if aliases := [a for a in self._settings.aliases.get(group.name, []) if a.text not in names]:
                entries["aliases"] = SequenceNode(place=aliases[0].place, items=list(aliases))
            for kind, by_model in fallbacks.items():
                if chosen := by_model.get(group.name):
                    entries[kind] = SequenceNode(place=chosen[0].place, items=list(chosen))
            if (routing := self._routing(group, names)) is not None:
                entries["routing"] = routing
            self._connections(entries["deployments"])
            retries = group.retries or self._settings.retries
            if retries is not None and scalar_text(retries) not in {None, "", "null"}:
                entries["retries"] = self._capped(retries)
            timeouts = {"total": self._settings.total, "first_byte": self._settings.first_byte}
            if present := {key: node for key, node in timeouts.items() if node is not None}:
                entries["timeouts"] = _mapping(group.place, present)
            items.append(_mapping(group.place, entries))
        return SequenceNode(place=self._root.place, items=items)

    def _routing(self, group: Group, names: list[str]) -> MappingNode | None:
        entries = self._router.of_group(group.name)
        if (mirror := group.mirror) is not None and mirror.text in names and mirror.text != group.name:
            name = quoted(mirror.place, mirror.text)
            entries["mirror"] = _mapping(mirror.place, {"model": name})
        elif mirror is not None:
            text = f"the model `{mirror.text}` is not in the list: no requests are mirrored"
            self._notes.add(("model_list", "silent_model"), mirror.place, text)
        return _mapping(group.place, entries) if entries else None

    def _connections(self, deployments: Node) -> None:
        """`default_max_parallel_requests`, where a deployment has no number of its own."""
        given = self._settings.connections
        for node in deployments.items if isinstance(deployments, SequenceNode) else []:
            if given is not None and isinstance(node, MappingNode) and "max_connections" not in node.entries:
                node.entries["max_connections"] = given
                node.keys["max_connections"] = given.place

    def _capped(self, node: Node) -> Node:
        text = scalar_text(node) or ""
        if text.isdecimal() and len(text) < 10 and int(text) > _MAX_RETRIES:
            self._notes.add(("num_retries",), node.place, f"more than {_MAX_RETRIES} retries are not made")
            return Scalar(place=node.place, text=str(_MAX_RETRIES), plain=True)
        return node

    def _fallbacks(self, kind: str, names: list[str]) -> dict[str, list[Scalar]]:
        """Per model; unknown targets are left out and noted. Circles may stay: no model is tried twice."""
        path: Path = ("router_settings", kind)
        given = self._settings.fallbacks.get(kind, {})
        aliases = {alias.text: target for target, found in self._settings.aliases.items() for alias in found}
        known = {*names, *(alias for alias, target in aliases.items() if target in names)}
        wanted: dict[str, list[Scalar]] = {}
        for name in names:
            own = given.get(name)
            general = self._settings.default_fallbacks if kind == "fallbacks" else []
            defaults = [t for t in general if aliases.get(t.text, t.text) != name]
            wanted[name] = list(own or defaults)
        for group, targets in given.items():
            if group not in names and targets:
                self._notes.add(path, targets[0].place, f"the model `{group}` is not in the list")
        for targets in wanted.values():
            for target in [t for t in targets if t.text not in known]:
                targets.remove(target)
                self._notes.add(
                    path, target.place, f"the model `{target.text}` is not in the list: fallback left out"
                )
        return wanted


def _mapping(place: Place, entries: Mapping[str, Node]) -> MappingNode:
    return MappingNode(
        place=place, entries=dict(entries), keys={key: node.place for key, node in entries.items()}
    )
