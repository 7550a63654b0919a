"""One mock provider for all integration tests; gateways are the modules' own."""

from collections.abc import Iterator

import pytest
from tests.harness import MockProvider


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    """Shared: tests tell their own requests from others' by `mark` and by the name of the model."""
    with MockProvider(tmp_path_factory.mktemp("provider"), record=1024) as mock:
        yield mock
