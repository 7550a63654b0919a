"""Tests that ask for `store_url` run twice: on SQLite and on PostgreSQL, with the same expectations."""

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return "sqlite:///test.db"
    url: str = request.getfixturevalue("database_url")
    return url
