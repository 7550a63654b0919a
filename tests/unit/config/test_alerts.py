"""Channels that cannot work are named."""

from typing import Any

import pytest

from ailink.config.alerts import AlertChannel, Alerts, Email, faults
from ailink.config.secret import Secret

URL = Secret("https://hooks.example.com/x")


def found(*channels: AlertChannel) -> list[tuple[tuple[str | int, ...], str]]:
    return list(faults(Alerts(channels=channels)))


def test_good_ones_have_no_faults() -> None:
    mail = Email(server=Secret("smtps://u:p@mail.example.com:465"), sender="a@b.c", to=("d@e.f",))
    channels = (
        AlertChannel(name="a", webhook=URL, secret=Secret("x")),
        AlertChannel(name="b", slack=URL),
        AlertChannel(name="c", email=mail),
    )
    assert found(*channels) == []


@pytest.mark.parametrize(
    ("fields", "path", "told"),
    [
        ({}, (), "give one of"),
        ({"webhook": URL, "slack": URL}, (), "give one of"),
        ({"webhook": Secret("ftp://x")}, ("webhook",), "expected an http"),
        ({"slack": Secret("https://")}, ("slack",), "expected an http"),
        ({"slack": Secret("https://[x")}, ("slack",), "expected an http"),
        ({"slack": URL, "secret": Secret("y")}, ("secret",), "only webhooks are signed"),
        (
            {"email": Email(server=Secret("mail.example.com"), sender="a@b.c", to=("d@e.f",))},
            ("email", "server"),
            "expected smtp",
        ),
    ],
)
def test_bad_ones_are_named(fields: dict[str, Any], path: tuple[str, ...], told: str) -> None:
    ((where, message),) = found(AlertChannel(name="a", **fields))
    assert where == ("alerts", "channels", 0, *path)
    assert told in message


def test_names_are_unique() -> None:
    ((where, _),) = found(AlertChannel(name="a", slack=URL), AlertChannel(name="a", slack=URL))
    assert where == ("alerts", "channels", 1, "name")
