"""What the bench needs from a system under test."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MODEL = "bench-chat"  # as clients name it; systems with aliases rewrite it to UPSTREAM_MODEL
UPSTREAM_MODEL = "gpt-4o-mini"


class Route(enum.Enum):
    """Which answer a request shall get."""

    CANNED = "the same JSON at once"
    SCRIPTED = "the mock provider by the workload's script"
    CACHED = "an earlier answer, without the provider"
    LIMITED = "a refusal: too many requests"
    STRANGER = "a refusal: unknown key"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to send a request, with which headers, and which model to name."""

    url: str
    headers: Mapping[str, str]
    model: str = MODEL


@dataclass(frozen=True, kw_only=True)
class Upstreams:
    """The providers' side: the server with the canned answer, and the mock provider."""

    canned: str  # http://127.0.0.1:PORT
    mock: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a system gets to start with: its own folder, the upstreams, and the scripts the mock shall follow
    by name.
    """

    folder: Path
    upstreams: Upstreams
    scripts: Mapping[str, str]


class System(Protocol):
    """A system under test or a yardstick. Started once for all rounds; idle systems wait."""

    @property
    def name(self) -> str:
        """As it stands in results and tables."""

    @property
    def version(self) -> str:
        """What was measured."""

    @property
    def configuration(self) -> str:
        """What is switched on, in a few words."""

    def start(self, place: Place) -> None:
        """Come up on the gateway's core; raise `StartFailure` if it cannot."""

    def stop(self) -> None:
        """End everything that was started."""

    def pids(self) -> Sequence[int]:
        """The processes to account; their descendants are added by the reader."""

    def target(self, route: Route, script: str = "") -> Target | None:
        """Where a request takes the route (script: a name from `Place.scripts`); None if this system has no
        such thing.
        """
