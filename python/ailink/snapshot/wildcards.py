"""What is known about models behind a name with a `*`: by the price catalogue, or by the server itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from ailink.pricing import Catalogue
from ailink.pricing import Model as Facts
from ailink.providers import Operation
from ailink.providers.discovery import Found
from ailink.snapshot import model as wire
from ailink.snapshot import prices

_CONVERSATIONS: Final[frozenset[Operation]] = frozenset(
    {"chat", "messages", "converse", "generate_content", "cohere_chat", "responses"}
)
_SERVED_BY: Final[dict[str, frozenset[Operation]]] = {
    "chat": _CONVERSATIONS,
    "responses": _CONVERSATIONS,
    "completion": frozenset({"completions"}),
    "embedding": frozenset(
        {"embeddings", "cohere_embed", "batch_embed_contents", "embed_content", "predict", "invoke"}
    ),
    "image_generation": frozenset({"images_generations", "predict", "generate_content", "invoke"}),
    "image_edit": frozenset({"images_edits"}),
    "audio_transcription": frozenset({"audio_transcriptions"}),
    "audio_speech": frozenset({"audio_speech"}),
    "rerank": frozenset({"rerank", "voyage_rerank", "tei_rerank", "nim_ranking", "invoke"}),
    "moderation": frozenset({"moderations"}),
    "realtime": frozenset({"realtime", "bidi_generate_content"}),
}
"""Operations of which a row needs one to serve a model of the catalogue's mode."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment of a wildcard. `found`: what its server says it has; None: it was not asked, or has not
    answered yet. `own_price`: the configuration's, for every model alike.
    """

    deployment: wire.Deployment
    family: str | None
    own_price: bool
    found: Sequence[Found] | None


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Price lists, the first over the next, and the day it is (YYYY-MM-DD)."""

    catalogues: tuple[Catalogue, ...]
    today: str


def known(places: Sequence[Place], sources: Sources, mode: str) -> list[wire.Known]:
    """The models known behind a wildcard, by name. `mode`: of those whose kind nobody tells."""
    at: dict[str, list[tuple[wire.KnownAt, Facts | None, bool]]] = {}
    for index, place in enumerate(places):
        for part, facts, version, listed in _of(place, sources):
            entry = _at(index, place, facts, version)
            at.setdefault(part, []).append((entry, facts, listed))
    return [
        wire.Known(
            part=part,
            listed=any(listed for _, _, listed in rows),
            mode=next((facts.mode for _, facts, _ in rows if facts and facts.mode), mode),
            info=prices.info(facts for _, facts, _ in rows if facts is not None),
            places=[entry for entry, _, _ in rows],
        )
        for part, rows in sorted(at.items())
    ]


def _at(index: int, place: Place, facts: Facts | None, version: str) -> wire.KnownAt:
    deployment = place.deployment
    price, price_version = deployment.price, deployment.price_version
    if facts is not None and facts.price is not None and not place.own_price:
        price, price_version = prices.listed(facts.price), version
    return wire.KnownAt(
        deployment=index,
        price=price,
        price_version=price_version,
        max_output=(facts and facts.max_output) or 0,
    )


def _of(place: Place, sources: Sources) -> Iterator[tuple[str, Facts | None, str, bool]]:
    """What the `*` may stand for, what is known of it and by which price list, whether clients are told."""
    if "*" not in place.deployment.model:
        return
    listed: Mapping[str, tuple[Facts, str]] = {} if place.family is None else _facts(place.family, sources)
    head, _, tail = place.deployment.model.partition("*")
    if place.found is not None:
        for one in place.found:
            if (part := _part(one.name, head, tail)) is not None:
                facts, version = listed.get(one.name, (None, ""))
                yield part, facts or _told(one), version, True
        return
    operations = place.deployment.operations.keys()
    for name, (facts, version) in listed.items():
        part = _part(name, head, tail)
        if part is None or not _SERVED_BY.get(facts.mode or "", frozenset()) & operations:
            continue
        # Names such as `eu/gpt-4o` or `1024-x-1024/dall-e-2` are prices of what has a name of its own.
        variant = "/" in name and name.rpartition("/")[2] in listed
        yield part, facts, version, not variant and not (facts.ends and facts.ends < sources.today)


def _facts(family: str, sources: Sources) -> dict[str, tuple[Facts, str]]:
    found: dict[str, tuple[Facts, str]] = {}
    for catalogue in reversed(sources.catalogues):
        found |= {name: (facts, catalogue.version) for name, facts in catalogue.models(family).items()}
    return found


def _part(name: str, head: str, tail: str) -> str | None:
    if not name.startswith(head) or not name.endswith(tail) or "*" in name:
        return None
    return name[len(head) : len(name) - len(tail)] or None


def _told(found: Found) -> Facts:
    """What the server itself says about a model."""
    return Facts(context_window=found.context, mode="embedding" if found.embeds else None)
