"""The running gateway that a command asks: one set of options for all commands, and one way to ask."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from ailink.cli import lazy, source
from ailink.cli.source import ConfigOption, JsonOption

Url = Annotated[
    str | None,
    typer.Option(
        envvar="AILINK_URL",
        help="Address of the gateway; without it from the configuration.",
        show_default=False,
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        envvar="AILINK_KEY",
        help="Admin key; without it from the configuration or the data directory.",
        show_default=False,
    ),
]


class Gateway(NamedTuple):
    """What the options said: where it is, as whom it is asked, and how its answer is shown."""

    url: str | None
    key: str | None
    config: Path | None
    as_json: bool

    def call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        """The decoded answer, or what went wrong on standard error and exit code 1."""
        try:
            return self.ask(method, path, query=query, body=body)
        except lazy.client.ClientError as error:
            raise source.fail(str(error)) from None

    def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        """The decoded answer. Raises ClientError."""
        return lazy.client.call(
            lazy.client.target(self.url, self.key, self.config), method, path, query=query, body=body
        )

    def printed(self, found: object) -> bool:
        """Prints the answer as JSON and says yes, if that was asked for."""
        if self.as_json:
            show_answer(found)
        return self.as_json


_OPTIONS: Final = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
    for name, default, kind in (
        ("url", None, Url),
        ("key", None, AdminKey),
        ("config", None, ConfigOption),
        ("as_json", False, JsonOption),
    )
)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options that say which gateway, in place of its parameter `gateway`."""
    signature = inspect.signature(command)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != "gateway"
    ]

    @functools.wraps(command)
    def asked(**given: Any) -> None:
        gateway = Gateway(*(given.pop(option.name) for option in _OPTIONS))
        command(gateway=gateway, **given)

    parameters = [*own, *_OPTIONS]
    asked.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    asked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return asked


def show_answer(found: object) -> None:
    """Prints JSON."""
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
