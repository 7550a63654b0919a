"""What can be asked and told in every dialect, in the words of none."""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import httpx

PNG = "iVBORw0KGgo="
SCHEMA: Any = {
    "type": "object",
    "required": ["place", "days"],
    "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
    "additionalProperties": False,
}
"""Of the first tool's arguments, and of structured output. The mock answers it with `ARGUMENTS`."""
ARGUMENTS = {"place": "mock", "days": 1}
OTHER_SCHEMA: Any = {"type": "object", "required": ["on"], "properties": {"on": {"type": "boolean"}}}
OTHER_ARGUMENTS = {"on": True}
TOOLS: dict[str, Any] = {"weather": SCHEMA, "light": OTHER_SCHEMA}


class Call(NamedTuple):
    """A tool call; `id` is the one of its dialect."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True)
class Ask:
    """What a client asks for."""

    text: str = "hello"
    stream: bool = False
    image: bool = False
    tools: bool = False
    schema: bool = False
    think: bool = False
    history: "Told | None" = None
    """An answer with calls: it is given back, with a result for each call."""


@dataclass
class Told:
    """What an answer tells."""

    text: str = ""
    thought: str = ""
    proofs: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    fragments: int = 0
    """Pieces in which the arguments of all calls came."""
    finish: str = ""
    """`stop`, `tools`, `length`, `filter`."""
    usage: tuple[int, int, int] | None = None
    """Tokens of the whole prompt, of the answer, read from the cache."""
    sources: list[str] = field(default_factory=list)
    error: str | None = None
    """The message of an error event."""
    ended: bool = False
    """The stream had the last event of its format."""
    turn: Any = None
    """The assistant's turn as a client gives it back."""


@dataclass
class Asked:
    """What a provider was asked, as far as its request tells."""

    texts: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    tools: dict[str, Any] = field(default_factory=dict)
    schema: Any = None
    thinks: bool = False
    calls: list[Call] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    """The id of the call, and the text."""
    proofs: list[str] = field(default_factory=list)


class Dialect(Protocol):
    """One format, from both sides."""

    name: str
    deployment: dict[str, Any]
    """How a deployment of the mock is made that speaks nothing else."""

    def path(self, model: str, stream: bool) -> str: ...
    def write(self, ask: Ask, model: str) -> Any: ...
    def read(self, body: Any) -> Told: ...
    def read_stream(self, body: bytes) -> Told: ...
    def read_error(self, answer: httpx.Response) -> str: ...
    def asked(self, body: Any) -> Asked: ...


RESULTS = ("sunny", "off")


def arguments(text: str) -> Any:
    """The arguments of a call, from their JSON text."""
    return json.loads(text) if text else None


def data_url(image: tuple[str, str]) -> str:
    return f"data:{image[0]};base64,{image[1]}"


def from_data_url(url: str) -> tuple[str, str]:
    head, data = url.removeprefix("data:").split(";base64,")
    return head, data
