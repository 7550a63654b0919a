"""Small PDFs."""

from collections.abc import Sequence


def make_pdf(pages: Sequence[str], *, note: str = "", author: str = "") -> bytes:
    """One line of text on each page; an empty one shows a rectangle."""
    shown = [f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else "0 0 100 100 re f" for text in pages]
    first = 5
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(shown)))
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(shown)} >>",
        3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        4: f"<< /Author ({author}) >>",
    }
    for number, content in enumerate(shown):
        notes = (
            f"/Annots [<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents ({note}) >>]" if note else ""
        )
        at = first + 2 * number
        resources = "<< /Font << /F1 3 0 R >> >>"
        objects[at] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {resources} "
            f"/Contents {at + 1} 0 R {notes} >>"
        )
        objects[at + 1] = f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"
    out = b"%PDF-1.4\n"
    places = []
    for number, body in sorted(objects.items()):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {size}\n0000000000 65535 f \n{table}".encode() + trailer.encode()
