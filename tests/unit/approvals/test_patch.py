"""JSON Patch: the cases of RFC 6902, appendix A, and that a difference leads from one value to the other."""

import json
import random
from typing import Any

import pytest

from ailink.approvals.patch import PatchError, applied, difference

GOOD: list[tuple[Any, list[dict[str, Any]], Any]] = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
    ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
    ({"foo": 1, "baz": 2}, [{"op": "remove", "path": "/baz"}], {"foo": 1}),
    ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
    ({"foo": [1, 2]}, [{"op": "replace", "path": "/foo/0", "value": 9}], {"foo": [9, 2]}),
    ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
    ({"foo": [1, 2, 3]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": [2, 3, 1]}),
    ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["x"]}], {"foo": ["bar", ["x"]]}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
]
BAD: list[tuple[Any, list[dict[str, Any]]]] = [
    ({"a": 1}, [{"op": "test", "path": "/a", "value": True}]),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": "1"}]),
    ({"a": 1}, [{"op": "remove", "path": "/b"}]),
    ({"a": 1}, [{"op": "replace", "path": "/b", "value": 1}]),
    ({"a": 1}, [{"op": "add", "path": "/b/c", "value": 1}]),
    ({"a": 1}, [{"op": "add", "path": "b", "value": 1}]),
    ({"a": [1]}, [{"op": "add", "path": "/a/2", "value": 1}]),
    ({"a": [1]}, [{"op": "add", "path": "/a/01", "value": 1}]),
    ({"a": [1]}, [{"op": "remove", "path": "/a/-"}]),
    ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}]),
    ({"a": 1}, [{"op": "remove", "path": ""}]),
    ({"a": 1}, [{"op": "bless", "path": "/a"}]),
    ({"a": 1}, [{"op": "add", "path": "/a"}]),
    ({"a": 1}, [{"op": "remove", "path": "/a", "value": 1}]),
    ({"a": 1}, [{"op": "remove", "path": 7}]),
    ({"a": 1}, [{"op": "add", "path": "/b", "value": 1}] * 1_001),
]


@pytest.mark.parametrize(("value", "patch", "wanted"), GOOD)
def test_patches_do_what_the_standard_says(value: Any, patch: list[dict[str, Any]], wanted: Any) -> None:
    before = json.dumps(value)
    assert applied(value, patch) == wanted
    assert json.dumps(value) == before


@pytest.mark.parametrize(("value", "patch"), BAD)
def test_what_does_not_fit_is_refused(value: Any, patch: list[dict[str, Any]]) -> None:
    with pytest.raises(PatchError):
        applied(value, patch)


def test_a_difference_leads_from_one_to_the_other() -> None:
    draw = random.Random(7)

    def value(depth: int) -> Any:
        kind = draw.randrange(6 if depth else 4)
        if kind == 4:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        if kind == 5:
            return {draw.choice(["a", "b/c", "d~e", ""]): value(depth - 1) for _ in range(draw.randrange(4))}
        return draw.choice([None, True, False, 0, 1, 1.5, "x", ""])

    for _ in range(500):
        before, after = value(3), value(3)
        patch = difference(before, after)
        assert applied(before, patch) == after, (before, after, patch)
        assert difference(after, after) == []
