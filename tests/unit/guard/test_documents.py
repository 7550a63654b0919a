"""What is read of PDFs, and what becomes of those that cannot be read."""

import asyncio

import pytest
from tests.harness.pdf import make_pdf

from ailink.admin.documents import Document, Reader
from ailink.admin.errors import ApiError
from ailink.guard.documents import Read, read


def test_all_texts_of_a_document_are_read() -> None:
    found = read(make_pdf(["first page", "second page"], note="a remark", author="Jane Doe"))
    assert not found.blind
    assert not found.why
    for text in ("first page", "second page", "a remark", "Jane Doe"):
        assert text in found.text


def test_pages_without_text_are_told() -> None:
    assert read(make_pdf(["words", ""])) == Read(text="words", blind=True)
    assert read(make_pdf([""])).text.strip() == ""


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"%PDF-1.7\n" + bytes(4_000), make_pdf(["words"])[:200]])
def test_what_is_none_has_a_reason(data: bytes) -> None:
    found = read(data)
    assert (found.text, bool(found.why) or found.blind) == ("", True)


async def test_a_process_reads_several_and_is_replaced_when_it_hangs() -> None:
    reader = Reader()
    try:
        texts = [(await reader.read(Document(data=make_pdf([f"page {n}"])))).text for n in range(3)]
        assert texts == ["page 0", "page 1", "page 2"]
    finally:
        await reader.stop()
    hasty = Reader(seconds=0.0)
    with pytest.raises(ApiError, match="in time") as late:
        await hasty.read(Document(data=make_pdf(["late"])))
    assert late.value.status == 504
    await asyncio.wait_for(hasty.stop(), 5)
