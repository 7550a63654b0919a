"""Where trained routers are kept: `data_dir/routers/NAME/` with a file per version and `state.json`, which
says what is in force. A running gateway watches that file.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
STATE: Final = "state.json"


class ShelfError(Exception):
    """A router or version that is not there, or a file that cannot be read or written."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`candidate` serves `percent` of the callers beside the incumbent. `since_us`: when that began."""

    incumbent: str | None = None
    previous: str | None = None
    candidate: str | None = None
    percent: int = 0
    since_us: int = 0
    note: str = ""
    """Why it stands so, for people."""


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What the data plane gets of a router."""

    incumbent: bytes | None = None
    candidate: bytes | None = None
    percent: int = 0


class Shelf:
    """The versions of one router."""

    def __init__(self, data_dir: Path, name: str) -> None:
        if NAME.fullmatch(name) is None:
            raise ShelfError(f"`{name}` is no name of a router: lower-case letters, digits and dashes")
        self.name = name
        self.directory = data_dir / "routers" / name

    @property
    def state_file(self) -> Path:
        return self.directory / STATE

    def make(self) -> None:
        """Makes its directory. Raises ShelfError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ShelfError(f"cannot make {self.directory}: {error.strerror}") from error

    def state(self) -> State:
        """What is in force; nothing where there is no file. Raises ShelfError."""
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError) as error:
            raise ShelfError(f"cannot read {self.state_file}: {error}") from error

    def put(self, state: State) -> None:
        """Puts it in force, in one step. Raises ShelfError."""
        new = self.directory / f".{STATE}.new"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
            os.replace(new, self.state_file)  # noqa: PTH105 - Path.replace hides that this is the atomic one
        except OSError as error:
            raise ShelfError(f"cannot write {self.state_file}: {error.strerror}") from error

    def versions(self) -> list[str]:
        """All of them, the oldest first."""
        return sorted(file.stem for file in self.directory.glob("v*.ailr"))

    def next_version(self) -> str:
        return f"v{max((int(name[1:]) for name in self.versions()), default=0) + 1:04d}"

    def file(self, version: str) -> Path:
        return self.directory / f"{version}.ailr"

    def read(self, version: str) -> bytes:
        """Raises ShelfError."""
        try:
            return self.file(version).read_bytes()
        except OSError as error:
            known = ", ".join(self.versions()) or "none"
            raise ShelfError(f"router `{self.name}` has no version `{version}` ({known})") from error

    def write(self, version: str, data: bytes) -> Path:
        """A new version. Raises ShelfError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with self.file(version).open("xb") as handle:
                handle.write(data)
        except OSError as error:
            raise ShelfError(f"cannot write {self.file(version)}: {error.strerror}") from error
        return self.file(version)

    def trained(self) -> Trained:
        """What is in force, read. Raises ShelfError."""
        state = self.state()
        return Trained(
            incumbent=None if state.incumbent is None else self.read(state.incumbent),
            candidate=None if state.candidate is None else self.read(state.candidate),
            percent=state.percent,
        )


def in_force(data_dir: str, named: Mapping[str, str]) -> dict[str, Trained]:
    """What is in force of the routers that models name. Makes their directories, so that these can be watched
    before there is anything in them. Raises ShelfError.
    """
    shelves = {name: Shelf(Path(data_dir), name) for name in named.values()}
    for shelf in shelves.values():
        shelf.make()
    return {name: shelf.trained() for name, shelf in shelves.items()}
