"""Waiting for what happens elsewhere: poll, never sleep a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0
INTERVAL = 0.01


def until(condition: Callable[[], T], what: str = "", seconds: float = PATIENCE) -> T:
    """The first truthy result of `condition`; after `seconds` AssertionError with `what` and the last one."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds} s: {what or condition}; last result: {result!r}")
        time.sleep(INTERVAL)
