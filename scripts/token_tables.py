"""Packs OpenAI's vocabularies for the data plane: `python3 scripts/token_tables.py DIRECTORY`.

DIRECTORY holds `o200k_base.tiktoken` and `cl100k_base.tiktoken`, as OpenAI publishes them (MIT) under
https://openaipublic.blob.core.windows.net/encodings/. What is written: the number of tokens, the length of
each, their bytes, in the order of their ranks, as one zlib stream; a third of the original.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from pathlib import Path

PUBLISHED = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
"""SHA-256 of the files; tiktoken checks the same."""

TARGET = Path(__file__).resolve().parent.parent / "rust/core/data"


def packed(text: bytes) -> bytes:
    """A vocabulary in the form that `kernel/tokens/vocabulary.rs` reads."""
    pairs = (line.split() for line in text.splitlines())
    tokens = {int(rank): base64.b64decode(token) for token, rank in pairs}
    ordered = [tokens[rank] for rank in range(len(tokens))]
    plain = len(ordered).to_bytes(4, "little") + bytes(map(len, ordered)) + b"".join(ordered)
    return zlib.compress(plain, 9)


def main(directory: Path) -> None:
    """Writes both vocabularies."""
    for name, digest in PUBLISHED.items():
        text = (directory / f"{name}.tiktoken").read_bytes()
        if hashlib.sha256(text).hexdigest() != digest:
            sys.exit(f"{name}: not the file that OpenAI published")
        (TARGET / f"{name}.zz").write_bytes(packed(text))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
