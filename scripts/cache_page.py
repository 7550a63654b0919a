#!/usr/bin/env python3
"""Render the rates of the semantic cache in `docs/cache.md` from the pairs that come with it.

Usage: .venv/bin/python scripts/cache_page.py [--check]
"""

import argparse
import sys
from pathlib import Path

from ailink.semantic.evaluation import SHIPPED, evaluate, lexical, markdown, read_pairs

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/cache.md"
BEGIN, END = "<!-- rates: begin -->", "<!-- rates: end -->"


def rendered(page: str) -> str:
    """The page with its rates written anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    pairs = read_pairs(SHIPPED)
    words = evaluate(pairs, None)
    others = words.pairs - words.paraphrases
    text = (
        f"Of {others} near misses the comparison of words lets {words.rates[0].false_hits:.0%} pass, "
        f"whatever an embedder says of them; of {words.paraphrases} paraphrases, {words.rates[0].hits:.0%}. "
        "With letters alone (`--lexical`), which know no meaning:"
    )
    return f"{head}{BEGIN}\n{text}\n\n{markdown(evaluate(pairs, lexical))}\n{END}{tail}"


def main() -> None:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if the page is old")
    options = parser.parse_args()
    page = PAGE.read_text()
    new = rendered(page)
    if options.check:
        sys.exit(
            0 if new == page else f"{PAGE.relative_to(ROOT)} is not up to date: run scripts/cache_page.py"
        )
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
