import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.admin.key_access import may_use

names = st.text(alphabet="ab*.[?", max_size=6)


@settings(deadline=None)
@given(names, st.text(alphabet="ab.[?", max_size=6))
def test_only_the_star_is_special(pattern: str, model: str) -> None:
    escaped = re.sub(r"([\[?])", r"[\1]", pattern)
    assert may_use([pattern], model) == fnmatchcase(model, escaped)


@pytest.mark.parametrize(
    ("allowed", "model", "expected"),
    [
        (None, "x", True),
        ([], "x", False),
        (["gpt-4o"], "gpt-4o", True),
        (["gpt-4o"], "gpt-4o-mini", False),
        (["openai/*"], "openai/gpt", True),
        (["*mini"], "gpt-4o-mini\n", False),
        (["a", "b"], "b", True),
    ],
)
def test_examples(allowed: list[str] | None, model: str, expected: bool) -> None:
    assert may_use(allowed, model) is expected
