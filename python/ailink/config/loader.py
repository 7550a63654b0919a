"""A configuration file, its includes and the environment → `Loaded`, or every problem at once.

The product's own format and LiteLLM's `config.yaml` are told apart by their top-level keys; the latter is
converted node by node, so that a problem points at the line the operator wrote.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Final, Literal

import msgspec

from ailink.config import litellm, python_checks, yaml12
from ailink.config.checks import Context, check
from ailink.config.expand import ExpansionError, expand
from ailink.config.problems import ConfigError, Path, Place, Problem
from ailink.config.reader import Reader
from ailink.config.schema import Config, routers_of
from ailink.config.yaml12 import Node, Scalar
from ailink.providers import Registry

_CONCATENATED: Final = frozenset({"models", "model_list"})
_MAX_FILES: Final = 64

EMBEDDED: Final = b"""\
# What `ailink serve` runs without a file: one mock model, everything else by default.
data_dir: ${AILINK_DATA_DIR:-.ailink}
master_key: ${AILINK_MASTER_KEY:-}
encryption_key: ${AILINK_ENCRYPTION_KEY:-}
models:
  - name: mock
    deployments:
      - {provider: mock}
      - {provider: mock_anthropic}
    price: {input_per_million: 0.15, output_per_million: 0.60}
"""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that passed every check."""

    config: Config
    """File names in it are absolute."""
    source: Literal["ailink", "litellm", "embedded"]
    file: FilePath | None
    """None for the embedded default."""
    files: tuple[FilePath, ...]
    """The file, its includes, and what else changes what is in force."""
    digest: str
    """SHA-256 over the contents of `files`."""
    modified: int
    """Newest modification of `files`, in seconds since 1970; 0 for the embedded default."""
    notes: tuple[Problem, ...]
    """What was not understood or deserves attention; the configuration works."""


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says instead of the file."""

    host: str | None = None
    port: int | None = None


NO_OVERRIDES: Final = Overrides()


class _Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is read with."""

    registry: Registry
    env: Mapping[str, str]
    overrides: Overrides


class _Source(msgspec.Struct, kw_only=True):
    """The file with its includes, before anything is checked."""

    root: Node | None
    files: list[FilePath]
    digest: str
    modified: int


def load(
    file: FilePath, registry: Registry, env: Mapping[str, str], overrides: Overrides = NO_OVERRIDES
) -> Loaded:
    """Reads `file` and its includes. Raises ConfigError with every problem found."""
    collector = _Collector(env)
    root = collector.collect(file, ())
    if collector.problems:
        raise ConfigError(collector.problems)
    source = _Source(
        root=root, files=collector.files, digest=collector.sha.hexdigest(), modified=collector.modified
    )
    return _finish(source, file, _Given(registry=registry, env=env, overrides=overrides))


def embedded(
    directory: FilePath, registry: Registry, env: Mapping[str, str], overrides: Overrides = NO_OVERRIDES
) -> Loaded:
    """The configuration of a start without a file; paths are relative to `directory`. Raises ConfigError."""
    root = yaml12.compose(EMBEDDED, "(built-in default)")
    source = _Source(root=root, files=[], digest=hashlib.sha256(EMBEDDED).hexdigest(), modified=0)
    file = directory / "(built-in default)"
    return _finish(source, file, _Given(registry=registry, env=env, overrides=overrides))


def _finish(source: _Source, file: FilePath, given: _Given) -> Loaded:
    root, env = source.root, given.env
    place = Place(file=str(file))
    notes: tuple[Problem, ...] = ()
    converted = isinstance(root, yaml12.Mapping) and litellm.recognises(root)
    if converted and isinstance(root, yaml12.Mapping):
        conversion = litellm.convert(root, given.registry, env)
        root, notes, env = conversion.root, conversion.notes, conversion.env
    reader = Reader(env)
    config = reader.config(root, place)
    problems = list(reader.problems)
    if config is not None:
        config = _override(_absolute(config, file.parent.absolute()), given.overrides)
        context = Context(
            registry=given.registry,
            env=env,
            locate=lambda path: locate(root, path, place),
            faulty=reader.faulty,
            dropped=reader.dropped,
            names=frozenset(_names(root, env)),
            converted=converted,
            directory=file.parent.absolute(),
        )
        problems += check(config, context)
    if config is None or any(problem.severity == "error" for problem in problems):
        raise ConfigError([*sorted(problems, key=_order), *notes])
    named = [*_router_states(config), *python_checks.files(config.guardrails, file.parent.absolute())]
    digest = source.digest
    for other in named:
        # What is in force there changes with it; a file that cannot be read is told when it is compiled.
        digest = hashlib.sha256(digest.encode() + _contents(other)).hexdigest()
    return Loaded(
        config=config,
        source="litellm" if converted else "ailink" if source.files else "embedded",
        file=file if source.files else None,
        files=(*source.files, *named),
        digest=digest,
        modified=source.modified,
        notes=(*problems, *notes),
    )


def _router_states(config: Config) -> list[FilePath]:
    """Where it stands which versions of the routers in use are in force."""
    names = sorted(set(routers_of(config).values()))
    return [FilePath(config.data_dir) / "routers" / name / "state.json" for name in names]


def _contents(file: FilePath) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def locate(root: Node | None, path: Path, default: Place) -> Place:
    """Where `path` stands, or the nearest thing around it that is written down."""
    place = default if root is None else root.place
    node = root
    for key in path:
        if isinstance(node, yaml12.Mapping) and isinstance(key, str) and key in node.entries:
            node = node.entries[key]
        elif isinstance(node, yaml12.Sequence) and isinstance(key, int) and key < len(node.items):
            node = node.items[key]
        else:
            break
        place = node.place
    return place


def _override(config: Config, overrides: Overrides) -> Config:
    changes = {name: value for name, value in msgspec.structs.asdict(overrides).items() if value is not None}
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **changes))


def _order(problem: Problem) -> tuple[str, int, int]:
    return problem.place.file, problem.place.line, problem.place.column


def _names(root: Node | None, env: Mapping[str, str]) -> Iterable[str]:
    """Every name and alias under `models`, also of models that have problems."""
    models = root.entries.get("models") if isinstance(root, yaml12.Mapping) else None
    for model in models.items if isinstance(models, yaml12.Sequence) else ():
        if not isinstance(model, yaml12.Mapping):
            continue
        aliases = model.entries.get("aliases")
        written = [
            model.entries.get("name"),
            *(aliases.items if isinstance(aliases, yaml12.Sequence) else ()),
        ]
        for node in written:
            if isinstance(node, Scalar):
                try:
                    yield expand(node.text, env)
                except ExpansionError:
                    continue


def _absolute(config: Config, directory: FilePath) -> Config:
    """File names relative to the configuration file become absolute."""
    server = config.server
    if server.tls is not None:
        cert, key = (
            str(directory / FilePath(f).expanduser()) for f in (server.tls.cert_file, server.tls.key_file)
        )
        server = msgspec.structs.replace(
            server, tls=msgspec.structs.replace(server.tls, cert_file=cert, key_file=key)
        )
    if server.uds is not None:
        server = msgspec.structs.replace(server, uds=str(directory / FilePath(server.uds).expanduser()))
    data_dir = directory / FilePath(config.data_dir).expanduser()
    prices = tuple(str(directory / FilePath(file).expanduser()) for file in config.prices)
    return msgspec.structs.replace(config, server=server, data_dir=str(data_dir), prices=prices)


class _Collector:
    """Reads a file and what it includes, depth first, and merges the trees."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.files: list[FilePath] = []
        self.sha = hashlib.sha256()
        self.modified = 0
        self._env = env

    def collect(self, file: FilePath, trail: tuple[FilePath, ...], asked: Place | None = None) -> Node | None:
        """The merged tree of `file`; `asked` is where it was included. Adds to `problems`."""
        place = asked or Place(file=str(file))
        real = file.resolve()
        if real in trail:
            names = " → ".join(part.name for part in (*trail[trail.index(real) :], real))
            self._report(place, f"the includes form a circle: {names}")
            return None
        if len(self.files) >= _MAX_FILES:
            self._report(place, f"more than {_MAX_FILES} files")
            return None
        try:
            if file.stat().st_size > yaml12.MAX_BYTES:
                self._report(place, f"{file} is larger than {yaml12.MAX_BYTES} bytes")
                return None
            data = file.read_bytes()
            self.modified = max(self.modified, int(file.stat().st_mtime))
        except OSError as error:
            self._report(place, f"cannot read {file}: {error.strerror}")
            return None
        self.files.append(file)
        self.sha.update(data)
        try:
            root = yaml12.compose(data, str(file))
        except ConfigError as error:
            self.problems += error.problems
            return None
        if isinstance(root, yaml12.Mapping) and "include" in root.entries:
            return self._included(root, file, (*trail, real))
        return root

    def _included(self, root: yaml12.Mapping, file: FilePath, trail: tuple[FilePath, ...]) -> Node:
        merged = yaml12.Mapping(place=root.place, entries=dict(root.entries), keys=dict(root.keys))
        include = merged.entries.pop("include")
        del merged.keys["include"]
        for item in include.items if isinstance(include, yaml12.Sequence) else [include]:
            if not isinstance(item, Scalar) or not item.text:
                self._report(item.place, "`include` takes a file name or a list of them")
                continue
            try:
                name = expand(item.text, self._env)
            except ExpansionError as error:
                self._report(item.place, str(error))
                continue
            other = self.collect(file.parent / FilePath(name).expanduser(), trail, item.place)
            if isinstance(other, yaml12.Mapping):
                self._merge(merged, other)
            elif other is not None:
                self._report(other.place, "expected a mapping at the top of the file")
        return merged

    def _merge(self, into: yaml12.Mapping, other: yaml12.Mapping) -> None:
        """Lists of models are joined, sections are united; the same key twice is refused, not overridden."""
        for key, node in other.entries.items():
            mine = into.entries.get(key)
            if mine is None:
                self._put(into, key, node, other.keys[key])
            elif (
                isinstance(mine, yaml12.Sequence)
                and isinstance(node, yaml12.Sequence)
                and key in _CONCATENATED
            ):
                into.entries[key] = yaml12.Sequence(place=mine.place, items=[*mine.items, *node.items])
            elif isinstance(mine, yaml12.Mapping) and isinstance(node, yaml12.Mapping):
                union = yaml12.Mapping(place=mine.place, entries=dict(mine.entries), keys=dict(mine.keys))
                for name, entry in node.entries.items():
                    self._put(union, name, entry, node.keys[name])
                into.entries[key] = union
            else:
                self._put(into, key, node, other.keys[key])

    def _put(self, into: yaml12.Mapping, key: str, node: Node, place: Place) -> None:
        if key in into.entries:
            self._report(place, f"`{key}` is set already at {into.keys[key]}")
            return
        into.entries[key] = node
        into.keys[key] = place

    def _report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place=place, path="include" if self.files else "", message=message))
