"""Circles among fallbacks."""

from collections.abc import Mapping

from ailink.config.problems import Path


def cycles(edges: Mapping[str, list[tuple[str, Path]]]) -> list[tuple[list[str], Path]]:
    """Each circle once: the names along it and the place of the edge that closes it. Linear in the edges."""
    found = []
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        trail = [start]
        position = {start: 0}
        pending = [iter(edges[start])]
        while pending:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
                finished = trail.pop()
                del position[finished]
                done.add(finished)
                continue
            name, path = step
            if name in position:
                found.append(([*trail[position[name] :], name], path))
            elif name not in done:
                position[name] = len(trail)
                trail.append(name)
                pending.append(iter(edges.get(name, [])))
    return found
