"""LiteLLM's `model_list` → groups of deployments in our own format."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from ailink.config import yaml12
from ailink.config.expand import escape
from ailink.config.problems import Path, Place, Problem, render_path
from ailink.config.yaml12 import Mapping as MappingNode
from ailink.config.yaml12 import Node, Scalar
from ailink.config.yaml12 import Sequence as SequenceNode
from ailink.providers import ProviderRow, Registry

ENV_PREFIX: Final = "os.environ/"

_SIZES: Final = {"max_input_tokens": "context_window", "max_output_tokens": "max_output"}
_PRICES: Final = {
    "input_cost_per_token": "input_per_million",
    "output_cost_per_token": "output_per_million",
    "cache_read_input_token_cost": "cache_read_per_million",
    "cache_creation_input_token_cost": "cache_write_per_million",
    "input_cost_per_audio_token": "audio_input_per_million",
    "output_cost_per_audio_token": "audio_output_per_million",
    "input_cost_per_request": "per_request",
}
_FAMILIES: Final = (
    (
        "openai",
        ("gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-", "dall-e-", "whisper-", "tts-", "omni-"),
    ),
    ("anthropic", ("claude-",)),
)
_SETTINGS: Final = {
    "api_version": "api_version",
    "aws_region_name": "region",
    "region_name": "region",
    "vertex_location": "region",
    "vertex_project": "project",
}
_MAX_ORDER: Final = 1_000
_URL_TAILS: Final = {
    "anthropic": ("/v1/messages", "/v1"),
    "cohere": ("/v2/chat", "/v2", "/v1"),
    "gemini": ("/v1beta",),
    "openai": ("/chat/completions",),
}
"""What operators put at the end of `api_base` that our base URL does not have."""


class Notes:
    """What was not understood, with its place."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, path: Path, place: Place, message: str) -> None:
        self.problems.append(Problem(place=place, path=render_path(path), message=message, severity="note"))

    def unknown(self, path: Path, place: Place) -> None:
        self.add(path, place, f"`{path[-1]}` is not understood in this version and has no effect")

    def reference(self, node: Node, path: Path, env: Mapping[str, str]) -> Scalar | None:
        """A scalar that may say `os.environ/NAME` → one of ours; None, and a note, if there is no value."""
        if not isinstance(node, Scalar):
            self.unknown(path, node.place)
            return None
        if not node.text.startswith(ENV_PREFIX):
            return quoted(node.place, node.text) if node.text else None
        name = node.text.removeprefix(ENV_PREFIX)
        if not env.get(name):
            self.add(path, node.place, f"environment variable {name} is not set")
            return None
        return Scalar(place=node.place, text=f"${{{name}}}", plain=False)


class Group(msgspec.Struct, kw_only=True):
    """One `model_name`: a model of ours, but for what the settings sections add."""

    name: str
    place: Place
    entries: dict[str, Node]
    retries: Node | None = None
    mirror: Scalar | None = None
    """`silent_model`: who gets its requests too."""


class _Entry(msgspec.Struct, kw_only=True):
    """One item of `model_list`."""

    path: Path
    place: Place
    params: MappingNode
    deployment: dict[str, Node]
    weight: Decimal | None = None


def quoted(place: Place, text: str) -> Scalar:
    """A scalar that the reader takes literally."""
    return Scalar(place=place, text=escape(text), plain=False)


def scalar_text(node: Node) -> str | None:
    return node.text if isinstance(node, Scalar) else None


def seconds(node: Node, path: Path, notes: Notes) -> Scalar | None:
    """A number of seconds → a duration of ours, to the millisecond."""
    value = yaml12.resolve(node.text) if isinstance(node, Scalar) else None
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 < value < 10**9:
        return Scalar(place=node.place, text=f"{max(1, int(value * 1000))}ms", plain=True)
    notes.unknown(path, node.place)
    return None


class Models:
    """Reads `model_list` and `credential_list`."""

    def __init__(self, registry: Registry, env: Mapping[str, str], notes: Notes) -> None:
        self._registry = registry
        self._env = env
        self._notes = notes
        self._credentials: dict[str, MappingNode] = {}
        self._groups: dict[str, Group] = {}
        self._members: dict[str, list[_Entry]] = {}

    def read(self, models: Node | None, credentials: Node | None) -> list[Group]:
        self._read_credentials(credentials)
        for index, item in enumerate(models.items if isinstance(models, SequenceNode) else []):
            self._read_item(item, ("model_list", index))
        for name, group in self._groups.items():
            members = self._members[name]
            self._weights(members)
            nodes: list[Node] = [_mapping(entry.place, entry.deployment) for entry in members]
            group.entries["deployments"] = SequenceNode(place=group.place, items=nodes)
        return list(self._groups.values())

    def _read_credentials(self, node: Node | None) -> None:
        for index, item in enumerate(node.items if isinstance(node, SequenceNode) else []):
            path: Path = ("credential_list", index)
            name = item.entries.get("credential_name") if isinstance(item, MappingNode) else None
            values = item.entries.get("credential_values") if isinstance(item, MappingNode) else None
            if isinstance(name, Scalar) and isinstance(values, MappingNode):
                self._credentials[name.text] = values
            else:
                self._notes.unknown(path, item.place)

    def _read_item(self, item: Node, path: Path) -> None:
        parts = item.entries if isinstance(item, MappingNode) else {}
        name, params = parts.get("model_name"), parts.get("litellm_params")
        if not isinstance(name, Scalar) or not isinstance(params, MappingNode) or not name.text:
            self._notes.add(path, item.place, "`model_name` and `litellm_params` are needed: left out")
            return
        if name.text.count("*") > 1:
            self._notes.add((*path, "model_name"), name.place, "more than one `*`: left out")
            return
        found = self._provider(params, (*path, "litellm_params"))
        if found is None:
            return
        row, model = found
        if ("*" in name.text, "*" in model) == (False, True) or model.count("*") > 1:
            self._notes.add((*path, "litellm_params", "model"), params.place, "a `*` for no name: left out")
            return
        entry = _Entry(path=path, place=item.place, params=params, deployment={})
        entry.deployment["provider"] = quoted(params.place, row.id)
        entry.deployment["model"] = quoted(params.entries["model"].place, model)
        group = self._groups.setdefault(
            name.text,
            Group(name=name.text, place=item.place, entries={"name": quoted(name.place, name.text)}),
        )
        self._members.setdefault(name.text, []).append(entry)
        self._read_params(entry, row, group)
        if lacking := _lacking(entry.deployment, row):
            text = f"`{lacking[0]}` is needed for provider `{row.id}`: left out"
            self._notes.add((*path, "litellm_params"), params.place, text)
            self._members[name.text].remove(entry)
            if not self._members[name.text]:
                del self._groups[name.text], self._members[name.text]
            return
        if isinstance(item, MappingNode):
            self._read_info(item, entry, group)

    def _provider(self, params: MappingNode, path: Path) -> tuple[ProviderRow, str] | None:
        """The provider and its name of the model; None, and a note, for one we do not have."""
        node = params.entries.get("model")
        text = scalar_text(node) if node is not None else None
        if node is None or not text:
            self._notes.add((*path, "model"), params.place, "`model` is needed: left out")
            return None
        prefix, slash, rest = text.partition("/")
        custom = params.entries.get("custom_llm_provider")
        if custom is not None and (named := scalar_text(custom)):
            prefix, rest = named, rest if slash and prefix == named else text
        elif not slash:
            prefix = next((p for p, starts in _FAMILIES if text.startswith(starts)), "")
            rest = text
        row = self._registry.get(prefix)
        if row is None:
            shown = f"provider `{prefix}`" if prefix else f"the provider of `{text}`"
            self._notes.add(
                (*path, "model"), node.place, f"{shown} is not supported in this version: left out"
            )
            return None
        return row, rest

    def _read_params(self, entry: _Entry, row: ProviderRow, group: Group) -> None:
        path: Path = (*entry.path, "litellm_params")
        params = dict(entry.params.entries)
        name = params.pop("litellm_credential_name", None)
        if name is not None:
            shared = self._credentials.get(scalar_text(name) or "")
            if shared is None:
                self._notes.add((*path, "litellm_credential_name"), name.place, "not in `credential_list`")
            else:
                params = {**shared.entries, **params}
        timeouts: dict[str, Node] = {}
        prices: dict[str, Node] = {}
        for key, node in params.items():
            here: Path = (*path, key)
            if key in _PRICES:
                self._price(key, node, here, prices)
            elif key in {"timeout", "stream_timeout"}:
                if (found := seconds(node, here, self._notes)) is not None:
                    timeouts["total" if key == "timeout" else "first_byte"] = found
            elif key in {"num_retries", "max_retries"}:
                group.retries = group.retries or node
            elif key == "silent_model" and isinstance(node, Scalar):
                group.mirror = group.mirror or node
            elif not self._read_param(key, node, here, entry, row):
                self._notes.unknown(here, entry.params.keys.get(key, node.place))
        if timeouts:
            entry.deployment["timeouts"] = _mapping(entry.place, timeouts)
        if prices:
            entry.deployment["price"] = _mapping(entry.place, prices)

    def _read_param(self, key: str, node: Node, path: Path, entry: _Entry, row: ProviderRow) -> bool:
        """Takes over one parameter; False when it is not understood."""
        deployment = entry.deployment
        if key in {"model", "custom_llm_provider"}:
            return True
        if key == "api_key" and row.auth.scheme == "none":
            self._notes.add(path, node.place, f"provider `{row.id}` takes no keys: it is not sent")
            return True
        if key == "api_key":
            if (secret := self._notes.reference(node, path, self._env)) is not None:
                deployment["api_key"] = secret
            return True
        if key in {"api_base", "base_url"}:
            self._base_url(node, path, deployment, row)
            return True
        if key == "max_parallel_requests":
            deployment["max_connections"] = node
            return True
        if key == "extra_headers" and isinstance(node, MappingNode):
            headers = {
                name: self._notes.reference(v, (*path, name), self._env) for name, v in node.entries.items()
            }
            _headers(deployment, node.place).update({name: v for name, v in headers.items() if v is not None})
            return True
        if key == "organization" and row.id == "openai":
            if (found := self._notes.reference(node, path, self._env)) is not None:
                _headers(deployment, node.place)["openai-organization"] = found
            return True
        setting = _SETTINGS.get(key)
        if setting is not None and setting in row.placeholders():
            if (found := self._notes.reference(node, path, self._env)) is not None:
                deployment[setting] = found
            return True
        value = yaml12.resolve(node.text) if isinstance(node, Scalar) else None
        if key == "weight":
            return isinstance(value, int | Decimal) and self._weight(entry, node, path, value)
        whole = value if isinstance(value, int) and not isinstance(value, bool) else -1
        if key in {"rpm", "tpm"} and whole >= 1:
            deployment[key] = node
            return True
        if key == "order" and 0 <= whole <= _MAX_ORDER:
            deployment[key] = node
            return True
        if key == "group" and isinstance(node, Scalar):
            deployment["group"] = quoted(node.place, node.text)
            return True
        if key == "tags" and isinstance(node, SequenceNode):
            deployment[key] = node
            return True
        return False

    def _base_url(self, node: Node, path: Path, deployment: dict[str, Node], row: ProviderRow) -> None:
        found = self._notes.reference(node, path, self._env)
        if found is None:
            return
        url = self._env[found.text[2:-1]] if found.text.startswith("${") else found.text
        url = url.rstrip("/")
        for tail in _URL_TAILS[row.dialect]:
            url = url.removesuffix(tail)
        if row.id == "ollama" and not url.endswith("/v1"):
            url += "/v1"
        deployment["base_url"] = quoted(found.place, url)

    def _price(self, key: str, node: Node, path: Path, prices: dict[str, Node]) -> None:
        """US dollars per token → per million, exactly: only the exponent changes."""
        value = yaml12.resolve(node.text) if isinstance(node, Scalar) else None
        if not isinstance(value, int | Decimal) or isinstance(value, bool):
            self._notes.unknown(path, node.place)
            return
        sign, digits, exponent = Decimal(value).as_tuple()
        if not isinstance(exponent, int):
            return
        shifted = Decimal((sign, digits, exponent if key == "input_cost_per_request" else exponent + 6))
        prices[_PRICES[key]] = Scalar(place=node.place, text=str(shifted), plain=True)

    def _weight(self, entry: _Entry, node: Node, path: Path, value: int | Decimal) -> bool:
        if value <= 0:
            self._notes.add(path, node.place, "a weight must be more than 0; 1 is taken")
        elif value <= 10**6:
            entry.weight = Decimal(value)
        else:
            return False
        return True

    @staticmethod
    def _weights(members: list[_Entry]) -> None:
        """Weights with a fraction become whole numbers in the same proportion, to four digits."""
        for name in ("rpm", "tpm"):
            # Where nothing is weighted, quotas are the weights.
            if all(entry.weight is None and name in entry.deployment for entry in members):
                for entry in members:
                    entry.weight = Decimal(min(int(scalar_text(entry.deployment[name]) or 1), 10**6))
        weights = [entry.weight for entry in members if entry.weight is not None]
        scale = 1 if all(weight == weight.to_integral_value() for weight in weights) else 10_000
        for entry in members:
            if weights:
                weight = max(1, round((entry.weight or Decimal(1)) * scale))
                text = str(min(weight, 1_000_000))
                entry.deployment["weight"] = Scalar(place=entry.place, text=text, plain=True)

    def _read_info(self, item: MappingNode, entry: _Entry, group: Group) -> None:
        """`model_info`, and keys of the item that are none of the three known ones."""
        for key in item.entries.keys() - {"model_name", "litellm_params", "model_info"}:
            self._notes.unknown((*entry.path, key), item.keys[key])
        info = item.entries.get("model_info")
        prices: dict[str, Node] = {}
        for key, node in info.entries.items() if isinstance(info, MappingNode) else ():
            path: Path = (*entry.path, "model_info", key)
            if key in _PRICES:
                self._price(key, node, path, prices)
            elif key == "id" and isinstance(node, Scalar):
                entry.deployment["id"] = quoted(node.place, node.text)
            elif key in _SIZES and isinstance(node, Scalar) and node.text.isdecimal():
                entry.deployment[_SIZES[key]] = node
            elif key == "mode" and isinstance(node, Scalar):
                group.entries.setdefault("mode", quoted(node.place, node.text))
            else:
                self._notes.unknown(path, node.place)
        if prices and "price" not in entry.deployment:
            entry.deployment["price"] = _mapping(entry.place, prices)


def _lacking(deployment: Mapping[str, Node], row: ProviderRow) -> list[str]:
    """Settings that the provider's URLs name and nobody gives."""
    named = row.path_placeholders() if "base_url" in deployment else row.placeholders()
    return sorted(named - {"model", "mock"} - row.settings.keys() - deployment.keys())


def _headers(deployment: dict[str, Node], place: Place) -> dict[str, Node]:
    node = deployment.setdefault("headers", MappingNode(place=place, entries={}, keys={}))
    return node.entries if isinstance(node, MappingNode) else {}


def _mapping(place: Place, entries: Mapping[str, Node]) -> MappingNode:
    return MappingNode(
        place=place, entries=dict(entries), keys={key: node.place for key, node in entries.items()}
    )
