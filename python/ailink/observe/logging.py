"""Log lines: one record, one line, as JSON or as text, with secrets masked and control characters escaped.

Modules log through the standard library (`logging.getLogger(__name__)`), so that granian's and asyncio's
records come out the same way. Structured fields go in `extra={"fields": {...}}`.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from ailink.observe.redaction import Redactor

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]

# C0, DEL, C1, line separators, and the marks that turn the direction of text: none may reach a terminal from
# outside.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LONGEST = 16_384


class LineFormatter(logging.Formatter):
    """Makes a record one line of the chosen format."""

    def __init__(self, form: Format, redactor: Redactor) -> None:
        super().__init__()
        self._line = _json_line if form == "json" else _text_line
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(_message(record)),
        }
        if isinstance(fields, Mapping):
            values |= {
                self._clean(str(name)): self._plain(value)
                for name, value in fields.items()
                if name not in values
            }
        if record.exc_info and record.exc_info[0] is not None:
            values["exception"] = self._clean("".join(traceback.format_exception(*record.exc_info)))
        return self._line(values)

    def _clean(self, text: str) -> str:
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}… ({len(text)} characters)"
        return self._redactor.clean(text)

    def _plain(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._clean(value if isinstance(value, str) else str(value))


def configure(form: Format, level: Level, redactor: Redactor, stream: TextIO = sys.stderr) -> None:
    """Sends every record of the process through one handler."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(form, redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # Arguments that do not fit the format: the record is still worth its line.
        return f"{record.msg} {record.args!r}"


def _json_line(values: Mapping[str, Any]) -> str:
    # Decoding a lone surrogate from a file name gives text that UTF-8 cannot hold.
    safe = {
        _escaped(name): _escaped(value) if isinstance(value, str) else value for name, value in values.items()
    }
    return msgspec.json.encode(safe).decode()


def _text_line(values: Mapping[str, Any]) -> str:
    rest = dict(values)
    time = rest.pop("time").strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    head = f"{time} {rest.pop('level').upper():7} {rest.pop('logger')}: {_escaped(rest.pop('message'))}"
    return head + "".join(f" {_escaped(name)}={_quoted(value)}" for name, value in rest.items())


def _quoted(value: object) -> str:
    text = _escaped(str(value))
    return (
        text
        if text and " " not in text and '"' not in text and "=" not in text
        else f'"{text.replace(chr(34), chr(39))}"'
    )


def _escaped(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
