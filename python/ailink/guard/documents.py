"""Reads PDFs, one after the other, as a process of its own: what a document does to its reader, it does here.

`python -m ailink.guard.documents`: a document on standard input (its length in four bytes, then itself), what
stands in it on standard output (the same, as MessagePack).
"""

import logging
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO, Final

import msgspec

LENGTH: Final = struct.Struct(">I")
# Memory of the process; a document that needs more is not read.
MEMORY: Final = 1 << 30
PAGES: Final = 2_000
CHARACTERS: Final = 4_000_000


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """`blind`: some page has no text and may show some. `why`: why nothing of it can be read."""

    text: str = ""
    blind: bool = False
    why: str = ""


def read(data: bytes) -> Read:
    """The texts of a PDF: of its pages, its forms, its notes and what it says of itself."""
    try:
        from pypdf import PdfReader  # noqa: PLC0415  # an extra, and only this process needs it
    except ImportError:
        return Read(why="the extra `pdf` is not installed")
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return Read(why="it is encrypted")
        if len(reader.pages) > PAGES:
            return Read(why=f"it has more than {PAGES} pages")
        texts, blind, length = [], False, 0
        for page in reader.pages:
            text = page.extract_text()
            blind = blind or not text.strip()
            texts += [text, *_notes(page)]
            length += sum(map(len, texts[-1:])) + len(text)
            if length > CHARACTERS:
                return Read(why=f"it has more than {CHARACTERS} characters")
        texts += _told(reader)
    except MemoryError:
        return Read(why="it needs too much memory")
    except Exception as error:  # noqa: BLE001  # whatever a broken document makes of its reader
        return Read(why=f"it is not valid ({type(error).__name__})")
    return Read(text="\n".join(text for text in texts if text), blind=blind or not texts)


def _notes(page: Any) -> Iterator[str]:
    for note in page.annotations or ():
        found = note.get_object()
        yield from (str(found[name]) for name in ("/Contents", "/V") if name in found)


def _told(reader: Any) -> Iterator[str]:
    yield from (str(value) for value in (reader.metadata or {}).values())
    for field in (reader.get_fields() or {}).values():
        yield str(field.get("/V") or "")


def _take(stream: BinaryIO, size: int) -> bytes | None:
    data = stream.read(size)
    return data if len(data) == size else None


def main() -> None:
    """Until standard input ends."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # Its complaints about broken documents are nobody's business.
    logging.disable()
    while (head := _take(sys.stdin.buffer, LENGTH.size)) is not None:
        data = _take(sys.stdin.buffer, LENGTH.unpack(head)[0])
        if data is None:
            return
        answer = msgspec.msgpack.encode(read(data))
        sys.stdout.buffer.write(LENGTH.pack(len(answer)) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
