"""Services that check texts: a TOML file each under `guard/vendors`, data without code.

A row says what parameters a check takes, what is sent and how the reply is understood. In its texts
`{name}` stands for a parameter and `<name>` for something of the request, which the data plane fills in. A
text that is nothing but a parameter becomes its value; where an optional one is not given, the member that
holds it is left out.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

DIRECTORY: Final = "vendors"
IDENTITY: Final = "identity"
_SLOT: Final = re.compile(r"\{([a-z_0-9]+)\}")
_TIMES: Final = {"ms": 1, "s": 1_000, "m": 60_000}
_GONE: Final = object()


class VendorError(ValueError):
    """A file that cannot be used."""


class ParameterError(ValueError):
    """What is wrong with the parameters of a check."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`env`: the variable that it is taken from when it is not given."""

    about: str
    required: bool = False
    default: Any = None
    env: str | None = None
    secret: bool = False
    choices: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    body: Any
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    sign: dict[str, str] | None = None


class Vendor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`identity`: the cloud whose identities may stand in the place of its secret parameters."""

    title: str
    docs: str
    """Where its API is documented."""
    checked: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    aliases: tuple[str, ...] = ()
    each: bool = False
    """One call for each text."""
    timeout: str = "5s"
    identity: Literal["aws", "google", "azure"] | None = None
    changes: bool = False
    """Whether it can say what stands in the place of a text."""
    parameters: dict[str, Parameter] = msgspec.field(default_factory=dict)
    input: Call | None = None
    output: Call | None = None
    reading: dict[str, Any] = msgspec.field(default_factory=dict)

    def call(self, given: Mapping[str, Any], slot: str = "") -> dict[str, Any]:
        """The check as the data plane takes it. `slot`: where the token of an `identity` is. Raises
        ParameterError.
        """
        known = given.get(IDENTITY) is not None
        if known and self.identity is None:
            raise ParameterError(f"`{IDENTITY}`: this service takes keys only")
        secrets = [name for name, parameter in self.parameters.items() if parameter.secret] if known else []
        for name in secrets:
            if given.get(name) is not None:
                raise ParameterError(f"give `{IDENTITY}` or `{name}`, not both")
        own = {name: value for name, value in given.items() if name != IDENTITY}
        values, timeout = self._values(own, secrets)
        keyed = tuple(f"{{{name}}}" for name in secrets)

        def asked(call: Call | None) -> dict[str, Any] | None:
            if call is None:
                return None
            url = _filled(call.url, values)
            if not isinstance(url, str) or not url.startswith(("http://", "https://", "unix:")):
                raise ParameterError(f"`{url}` is no address of http or https")
            return {
                "url": url,
                "headers": _filled(_without(call.headers, keyed), values),
                "body": _filled(call.body, values),
                "sign": None if call.sign is None else _filled(_without(call.sign, keyed), values),
            }

        return {
            "input": asked(self.input),
            "output": asked(self.output),
            "timeout_ms": timeout,
            "each": self.each,
            "identity": slot if known else None,
            "reading": _filled(self.reading, values),
        }

    def _values(self, given: Mapping[str, Any], left_out: Sequence[str]) -> tuple[dict[str, Any], int]:
        merged = dict(given)
        # Portkey's objects hold credentials apart.
        credentials = merged.pop("credentials", None)
        if isinstance(credentials, Mapping):
            merged |= credentials
        timeout = milliseconds(merged.pop("timeout", self.timeout))
        values: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name in left_out:
                values[name] = None
                continue
            value = merged.pop(name, None)
            if value is None and parameter.env is not None:
                value = os.environ.get(parameter.env)
            if value is None:
                value = parameter.default
            if value is None and parameter.required:
                hint = f" (or the environment's {parameter.env})" if parameter.env else ""
                raise ParameterError(f"`{name}` is missing{hint}: {parameter.about}")
            if parameter.choices and value is not None and value not in parameter.choices:
                raise ParameterError(f"`{name}`: expected one of {', '.join(parameter.choices)}")
            values[name] = value
        for name, parameter in self.parameters.items():
            if isinstance(parameter.default, str) and values[name] == parameter.default:
                values[name] = _filled(parameter.default, values)
        for name in merged:
            near = difflib.get_close_matches(name, self.parameters, n=1)
            raise ParameterError(
                f"unknown parameter `{name}`{f', did you mean `{near[0]}`?' if near else ''}"
            )
        return values, timeout


def _without(members: Mapping[str, str], slots: tuple[str, ...]) -> dict[str, str]:
    """Members that hold none of these slots."""
    return {name: text for name, text in members.items() if not any(slot in text for slot in slots)}


def milliseconds(text: Any) -> int:
    """`5s`, `250ms`; a number alone is milliseconds, as Portkey takes it."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", str(text))
    if found is None:
        raise ParameterError("`timeout`: expected a duration such as `5s` or `250ms`")
    return int(float(found[1]) * _TIMES[found[2]])


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        whole = _SLOT.fullmatch(value)
        if whole is not None and whole[1] in values:
            found = values[whole[1]]
            return _GONE if found is None else found
        return _SLOT.sub(lambda slot: str(values.get(slot[1], slot[0]) or ""), value)
    if isinstance(value, Mapping):
        filled = {name: _filled(inner, values) for name, inner in value.items()}
        return {name: inner for name, inner in filled.items() if inner is not _GONE}
    if isinstance(value, list | tuple):
        items = [_filled(inner, values) for inner in value]
        return [item for item in items if item is not _GONE]
    return value


@cache
def load() -> Mapping[str, Vendor]:
    """All rows by name. Raises VendorError."""
    found = {}
    for file in sorted((resources.files(__package__) / DIRECTORY).iterdir(), key=lambda file: file.name):
        name, _, suffix = file.name.rpartition(".")
        if suffix == "toml":
            try:
                found[name] = msgspec.convert(tomllib.loads(file.read_text("utf-8")), Vendor)
            except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
                raise VendorError(f"vendor {name}: {error}") from None
    return found


@cache
def _names() -> Mapping[str, Vendor]:
    names = dict(load())
    for row in load().values():
        names |= dict.fromkeys(row.aliases, row)
    return names


def find(name: str) -> Vendor | None:
    """The row of a name or an alias."""
    return _names().get(name)


def names() -> list[str]:
    """Names and aliases."""
    return sorted(_names())
