import io
import json
import logging
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.observe.logging import LineFormatter, configure
from ailink.observe.redaction import MASK, Redactor


def line(form: str, message: str, *args: object, fields: object = None, exc_info: object = None) -> str:
    record = logging.LogRecord("ailink.test", logging.INFO, "f", 1, message, args, exc_info)  # type: ignore[arg-type]
    record.created = 1_790_000_000.25
    if fields is not None:
        record.fields = fields
    return LineFormatter(form, Redactor()).format(record)  # type: ignore[arg-type]


def test_text() -> None:
    made = line(
        "text", "key %s blocked", "sk-...abcd", fields={"key_id": "key_1", "by": "the master", "n": 3}
    )
    assert made == (
        "2026-09-21T14:13:20.250000Z INFO    ailink.test: key sk-...abcd blocked "
        'key_id=key_1 by="the master" n=3'
    )


def test_json() -> None:
    made = json.loads(line("json", "hello", fields={"n": 3, "none": None, "level": "forged", "list": [1]}))
    assert made == {
        "time": "2026-09-21T14:13:20.250000Z",
        "level": "info",
        "logger": "ailink.test",
        "message": "hello",
        "n": 3,
        "none": None,
        "list": "[1]",
    }


@pytest.mark.parametrize("form", ["text", "json"])
@settings(deadline=None)
@given(message=st.text(), value=st.text(), name=st.text(max_size=5))
def test_a_record_is_one_line_that_no_terminal_acts_on(
    form: str, message: str, value: str, name: str
) -> None:
    made = line(form, "%s", message, fields={name: value})
    assert len(made.splitlines()) == 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in made)
    assert not set(made) & set("\u2028\u2029\u202e\u2066")
    made.encode()
    if form == "json":
        json.loads(made)


@pytest.mark.parametrize("form", ["text", "json"])
def test_injection(form: str) -> None:
    made = line(form, "user %s", "x\n2026-01-01 ERROR root: forged\x1b[31m\x9b31m\r")
    assert "\n" not in made
    assert "\\u000a" in made
    assert "\\u001b" in made


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked_wherever_they_stand(form: str) -> None:
    try:
        raise ValueError("Bearer sk-abcdefghijklmnop")
    except ValueError as error:
        made = line(
            form,
            "sent %s",
            {"api_key": "sk-abcdefghijklmnop"},
            fields={
                "header": "Bearer sk-abcdefghijklmnop",
                "sk-abcdefghijklmnop": 1,
                "list": ["sk-abcdefghijklmnop"],
            },
            exc_info=(type(error), error, error.__traceback__),
        )
    assert "abcdefghijklmnop" not in made
    assert made.count(MASK) >= 5
    assert "ValueError" in made


def test_arguments_that_do_not_fit_still_make_a_line() -> None:
    assert "%d apples" in line("text", "%d apples", "three")


def test_long_values_are_cut() -> None:
    made = line("json", "x" * 100_000)
    assert len(made) < 20_000
    assert "(100000 characters)" in made


def test_configure_sends_all_records_one_way() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        configure("json", "info", Redactor(), stream)
        logging.getLogger("other.library").warning("to %s", "all")
        logging.getLogger("other.library").debug("not this")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    (made,) = stream.getvalue().splitlines()
    assert json.loads(made)["message"] == "to all"
