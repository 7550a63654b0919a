"""What a provider's row says about parameters and refusals, as the data plane takes it."""

import msgspec

from ailink.config.deployments import Placed
from ailink.providers import Operation, ProviderRow, service
from ailink.providers.rules import of as rules_of
from ailink.providers.wording import Answer, Field, Timed
from ailink.snapshot import model as wire


def rules(row: ProviderRow, tier: str | None = None) -> dict[Operation, list[wire.Rule]]:
    """The row's parameter rules by operation. `tier`: the service tier that a deployment asks for."""

    def text(value: object) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    tables = {operation: rules_of(row.parameters, operation) for operation in row.operations}
    found = {
        operation: [
            wire.Rule(
                parameter=name,
                to=rule.to,
                reject=rule.reject,
                drop=rule.drop,
                set=None,
                min=text(rule.min),
                max=text(rule.max),
                default=text(rule.default),
                require=rule.require,
            )
            for name, rule in table.items()
        ]
        for operation, table in tables.items()
    }
    for operation, (name, value) in service.members(row, tier).items():
        others = [rule for rule in found[operation] if rule.parameter != name]
        found[operation] = [*others, _always(name, value)]
    return {operation: told for operation, told in found.items() if told}


def _always(name: str, value: object) -> wire.Rule:
    return wire.Rule(
        parameter=name,
        to=None,
        reject=None,
        drop=False,
        set=msgspec.json.encode(value).decode(),
        min=None,
        max=None,
        default=None,
        require=False,
    )


def requests(row: ProviderRow, voices: dict[str, str]) -> dict[Operation, wire.Worded]:
    """How operations are asked for in the row's own words. `voices`: a deployment's own names of them."""
    return {
        operation: wire.Worded(
            body=request.body,
            rest=request.rest,
            fields=[
                _field(name, field, voices if name == "voice" else {})
                for name, field in request.fields.items()
            ],
            answer=None if request.answer is None else _telling(request.answer),
        )
        for operation, request in row.requests.items()
    }


def _field(name: str, field: Field, own: dict[str, str]) -> wire.Field:
    to = field.to or name
    words = {**field.words, **own}
    return wire.Field(
        name=name,
        place=field.place,
        to=to,
        words={word: {to: said} if isinstance(said, str) else dict(said) for word, said in words.items()},
        only=field.only,
        like=field.like,
        form=field.form,
        default=field.default,
        require=field.require,
        drop=field.drop,
        reject=field.reject,
        min=None if field.min is None else float(field.min),
        max=None if field.max is None else float(field.max),
    )


def _telling(answer: Answer) -> wire.Telling:
    return wire.Telling(
        text=answer.text,
        language=answer.language,
        duration=answer.duration,
        words=_timed(answer.words),
        segments=_timed(answer.segments),
    )


def _timed(timed: Timed | None) -> wire.Timed | None:
    if timed is None:
        return None
    return wire.Timed(at=timed.at, text=timed.text, start=timed.start, end=timed.end, only=timed.only)


def errors(row: ProviderRow) -> list[wire.ErrorRule]:
    """What the row says about refusals."""
    return [
        wire.ErrorRule(
            status=what if isinstance(what, int) else 0,
            words=what.lower() if isinstance(what, str) else "",
            of=name,
        )
        for name, told in row.errors.items()
        for what in told
    ]


def auth(placed: Placed) -> wire.Auth:
    """How the credential travels: tokens of Google and Azure as such, whatever takes the place of a key."""
    auth, credential = placed.row.auth, placed.credential
    scheme = auth.scheme if credential is not None else "none"
    if credential is not None and credential.identity is not None and auth.identity != "aws":
        scheme = "bearer"
    return wire.Auth(scheme=scheme, name=auth.name, region=placed.region if scheme == "sigv4" else None)
