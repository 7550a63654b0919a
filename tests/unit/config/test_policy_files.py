"""Files of policies by themselves: every form is read, every fault is told with its line."""

from pathlib import Path

import pytest

from ailink.config.policy_files import read_policies
from ailink.config.problems import ConfigError
from ailink.config.schema import Config

ONE = "name: a\nwhen: {field: stream, op: eq, value: true}\nthen: [{deny: {message: no}}]\n"


def read(text: str, config: Config | None = None) -> list[str]:
    return [one.rule.name for one in read_policies(Path("p.yaml"), text.encode(), config or Config())]


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text)
    return [str(problem) for problem in raised.value.problems]


def test_one_a_list_and_a_section_are_read() -> None:
    listed = "- {name: a, then: [{allow: {}}]}\n- {name: b, then: [{allow: {}}]}\n"
    section = "models: []\npolicies:\n" + listed
    assert (read(ONE), read(listed), read(section)) == (["a"], ["a", "b"], ["a", "b"])


def test_what_the_api_takes_is_what_stands_there() -> None:
    (one,) = read_policies(Path("p.yaml"), ONE.encode(), None)
    assert one.body == {
        "name": "a",
        "when": {"field": "stream", "op": "eq", "value": True},
        "then": [{"deny": {"message": "no"}}],
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "p.yaml: expected a policy"),
        ("[]", "p.yaml:1:1: expected a policy"),
        ("policies: 5", "p.yaml:1:11: policies: expected a policy"),
        ("name: a\nthen: [{dney: {}}]\n", "p.yaml:2:9: then[0].dney: unknown key"),
        ("name: a\nwhen: stream &&\nthen: [{deny: {}}]\n", "p.yaml:2:7: when: "),
        ("name: a\nthen:\n  - route: {model: nope}\n", "p.yaml:3:20: then[0].route.model: no model `nope`"),
        ("name: a\nphase: async\nthen:\n  - deny: {}\n", "p.yaml:4:5: then[0]: "),
        ("- {name: a, then: [{allow: {}}]}\n- {name: a, then: [{allow: {}}]}\n", "two policies named `a`"),
        ("name: [", "not valid YAML"),
    ],
)
def test_a_fault_has_its_line(text: str, fault: str) -> None:
    (first, *_) = faults(text)
    assert fault in first, first


def test_all_faults_are_told() -> None:
    assert len(faults("- {name: a, then: [{x: {}}]}\n- {name: b, then: [{route: {model: n}}]}\n")) >= 2
