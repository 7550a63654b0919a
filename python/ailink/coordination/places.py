"""Where leases are in the data plane, by the names that nodes call them by.

What nobody mentions any more is forgotten.
What a node still holds a part of it reports, at least every 32 s; what others want back is among that.
"""

from __future__ import annotations

from typing import NamedTuple

from ailink.coordination.shapes import Standing

# What was not mentioned for between one and two times so long is forgotten.
KEPT_S = 60.0


class Place(NamedTuple):
    """One lease: whose it is."""

    kind: str
    holder: str


class Places:
    """One per process. Two generations of each table: what was mentioned lately, and what was before that."""

    def __init__(self) -> None:
        self._serials: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
        self._leases: tuple[dict[int, Place], dict[int, Place]] = ({}, {})
        self._since = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._serials)) + sum(map(len, self._leases))

    def saw(self, key: str, one: Standing, now: float) -> None:
        """Notes a lease that is mentioned by this name."""
        if now - self._since >= KEPT_S:
            self._serials, self._leases = ({}, self._serials[0]), ({}, self._leases[0])
            self._since = now
        young, old = self._serials
        young.setdefault(key, old.pop(key, set())).add(one.serial)
        leases, former = self._leases
        if one.serial not in leases:
            leases[one.serial] = former.pop(one.serial, Place(one.kind, one.id))

    def of(self, key: str) -> list[tuple[int, Place]]:
        """The leases of this name, by their serials."""
        serials = self._serials[0].get(key) or self._serials[1].get(key) or set()
        leases = {**self._leases[1], **self._leases[0]} if serials else {}
        return [(serial, leases[serial]) for serial in serials if serial in leases]
