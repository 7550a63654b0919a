from typing import Any

import pytest

from ailink.admin.errors import ApiError
from ailink.admin.litellm_fields import KEY_SETTINGS, REGENERATE, without_inert


@pytest.mark.parametrize("field", sorted(REGENERATE))
def test_a_value_that_asks_for_nothing_is_let_go(field: str) -> None:
    for value in REGENERATE[field]:
        assert without_inert({field: value, "key_alias": "a"}, REGENERATE) == {"key_alias": "a"}


@pytest.mark.parametrize("field", sorted(REGENERATE))
@pytest.mark.parametrize("value", [1, "x", [1], {"a": 1}, True, 0.5])
def test_a_value_that_asks_for_something_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        without_inert({field: value}, REGENERATE)
    error = caught.value.envelope.error
    assert (caught.value.status, error.param, error.code) == (400, field, "unsupported_parameter")
    assert field in error.message


@pytest.mark.parametrize("field", ["end_user_budget_id", "mcp_rpm_limit", "router_settings"])
@pytest.mark.parametrize("value", [0, 0.0, False])
def test_a_limit_of_zero_is_a_limit(field: str, value: Any) -> None:
    with pytest.raises(ApiError):
        without_inert({field: value}, KEY_SETTINGS)
