"""How large a run is."""

import os

FULL = os.environ.get("AILINK_FULL") == "1"


def sized(default: int, full: int) -> int:
    """`full` with AILINK_FULL=1, else `default`."""
    return full if FULL else default
