"""Server-sent events, read the slow and obvious way (WHATWG HTML, 9.2.6)."""

import json
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One dispatched event."""

    name: str
    data: str

    @property
    def done(self) -> bool:
        return self.data == "[DONE]"

    def json(self) -> Any:
        return json.loads(self.data)


def events_of(body: bytes | str) -> list[Event]:
    """Events of a whole stream. An event without its final blank line is dropped, as a browser does."""
    text = (body.decode(errors="replace") if isinstance(body, bytes) else body).removeprefix("\ufeff")
    found: list[Event] = []
    name, data = "", list[str]()
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in lines[:-1]:
        if line == "":
            if data:
                found.append(Event(name or "message", "\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return found
