"""Every page under `docs/policies` is true: its requests are sent, and answered as it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import Double, Gateway, MockProvider
from tests.harness.pages import Page, Reader

from ailink.config.policies import Action

FOLDER = Path(__file__).parents[2] / "docs" / "policies"
INDEX = Page.read(FOLDER / "README.md")
PAGES = [Page.read(path) for path in sorted(FOLDER.glob("*.md")) if path != INDEX.path]


@pytest.fixture(scope="module")
def hook() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture(scope="module")
def reader(
    provider: MockProvider, hook: Double, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Reader]]:
    gateway = Gateway(tmp_path_factory.mktemp("pages"), "models: []")
    reader = Reader(gateway, provider, hook)
    gateway.file.write_text(reader.config(INDEX))
    with gateway:
        yield gateway, reader


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.stem)
def test_a_page_is_true(reader: tuple[Gateway, Reader], page: Page) -> None:
    gateway, runs = reader
    gateway.reconfigure(runs.config(INDEX, page))
    assert runs.run(page) > 0


def test_every_action_has_its_page() -> None:
    """And every page is in the index."""
    pages = {page.path.stem for page in PAGES}
    assert {name.replace("_", "-") for name in Action.__struct_fields__} <= pages
    told = INDEX.path.read_text()
    assert [name for name in sorted(pages) if f"({name}.md)" not in told] == []
