"""Where leases are in the data plane, by the names that nodes call them by, and how fast they are used.

A limit of a calendar period has another name in each period, so what nobody mentions any more is forgotten.
Of what a node still holds a part it reports several times a second; what others want back is among that.
"""

from __future__ import annotations

from ailink.coordination.shapes import Standing

# What was not mentioned for between one and two times so long is forgotten.
KEPT_S = 60.0
# Shorter measurements of a rate tell nothing.
SHORTEST_S = 0.125


class Place:
    """One lease: whose it is, and units per second, with when and at what count they were looked at last."""

    __slots__ = ("at", "holder", "kind", "rate", "taken")

    def __init__(self, one: Standing, now: float) -> None:
        self.kind, self.holder = one.kind, one.id
        self.at, self.taken, self.rate = now, one.taken, 0.0


class Places:
    """One per process. Two generations of each table: what was mentioned lately, and what was before that."""

    def __init__(self) -> None:
        self._serials: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
        self._leases: tuple[dict[int, Place], dict[int, Place]] = ({}, {})
        self._since = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._serials)) + sum(map(len, self._leases))

    def saw(self, key: str, one: Standing, now: float) -> float:
        """Notes a lease that is mentioned by this name. Its rate, units per second, as it went lately."""
        if now - self._since >= KEPT_S:
            self._serials, self._leases = ({}, self._serials[0]), ({}, self._leases[0])
            self._since = now
        young, old = self._serials
        young.setdefault(key, old.pop(key, set())).add(one.serial)
        leases, former = self._leases
        place = leases.get(one.serial) or former.pop(one.serial, None) or Place(one, now)
        leases[one.serial] = place
        if now - place.at >= SHORTEST_S:
            latest = max(0, one.taken - place.taken) / (now - place.at)
            place.rate = latest if place.rate == 0.0 else 0.7 * place.rate + 0.3 * latest
            place.at, place.taken = now, one.taken
        return place.rate

    def of(self, key: str) -> list[tuple[int, Place]]:
        """The leases of this name, by their serials."""
        serials = self._serials[0].get(key) or self._serials[1].get(key) or set()
        leases = {**self._leases[1], **self._leases[0]} if serials else {}
        return [(serial, leases[serial]) for serial in serials if serial in leases]
