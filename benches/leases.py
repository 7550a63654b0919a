"""What leases cost: calls to Redis and refusals too early, simulated for 1 to 1,000 nodes.

    python -m benches.leases

One limit per minute is asked for by all nodes, a request at a time, drawn evenly. The rules are those of
`ailink.coordination`: a report every 250 ms of a node, which makes up what lacks a quarter of a fair part, an
ask when a request lacks its share or half of it is gone; fair is half of an even part of what is free. Time
is virtual and nothing waits, so the figures are counts, not speeds. Writes the table of `docs/scaling.md`.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- leases:begin -->", "<!-- leases:end -->"
NODES = (1, 3, 10, 100, 1_000)
RATE = 1_000
SECONDS = 60
REPORTS_S = 4


class Outcome(NamedTuple):
    asks: int
    recalls: int
    admitted: int
    held: int
    """In shares, not used, half way: what is admitted at least if Redis goes away then."""


class Node:
    def __init__(self) -> None:
        self.left = 0
        self.low = 0
        self.again = 0


def simulate(nodes: int, limit: int, seed: int = 1) -> Outcome:
    """A minute in which every request comes to a random node."""
    dice = random.Random(seed)
    all_nodes = [Node() for _ in range(nodes)]
    free, asks, recalls, admitted, held = limit, 0, 0, 0, 0
    for number in range(RATE * SECONDS):
        node = all_nodes[dice.randrange(nodes)]
        if number % (RATE // REPORTS_S) == 0:
            for one in all_nodes:
                if one.low and one.left * 4 < _fair(free, one, nodes) * 3:
                    free, one.left = _granted(free, one, nodes)
        if node.left == 0 and number >= node.again:
            asks += 1
            if free == 0 and (lying := sum(one.left for one in all_nodes)):
                # All that lies unused is called in.
                recalls += 1
                free = lying
                for one in all_nodes:
                    one.left = one.low = 0
            free, node.left = _granted(free, node, nodes)
            if node.left == 0:
                # Used up everywhere: asked about again after 100 ms.
                node.again = number + RATE // 10
        if node.left > 0:
            node.left -= 1
            admitted += 1
            if node.left < node.low:
                asks += 1
                free, node.left = _granted(free, node, nodes)
        if number == RATE * SECONDS // 2:
            held = sum(one.left for one in all_nodes)
    return Outcome(asks, recalls, admitted, held)


def _fair(free: int, node: Node, nodes: int) -> int:
    return (free + node.left) // (2 * nodes)


def _granted(free: int, node: Node, nodes: int) -> tuple[int, int]:
    least = 1 if node.left == 0 else 0
    given = min(free, max(least, _fair(free, node, nodes) - node.left))
    node.low = (node.left + given) // 2 if free > given else 0
    return free - given, node.left + given


def table() -> str:
    """In Markdown."""
    lines = [
        f"One limit, {RATE:,} requests a second over all nodes, drawn evenly; a minute of it, simulated by",
        "`python -m benches.leases`:",
        "",
        "| nodes | limit a minute | admitted | asks/s | recalls | reports/s | in shares after 30 s |",
        "|---|---|---|---|---|---|---|",
    ]
    for nodes in NODES:
        for limit in (RATE * SECONDS * 10, RATE * SECONDS // 2):
            found = simulate(nodes, limit)
            possible = min(limit, RATE * SECONDS)
            lines.append(
                f"| {nodes:,} | {limit:,} | {found.admitted:,} of {possible:,} | {found.asks / SECONDS:.1f} "
                f"| {found.recalls:,} | {nodes * REPORTS_S:,} | {found.held:,} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Prints the table, and writes it into the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    text = table()
    print(text)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
