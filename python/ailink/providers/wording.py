"""How a provider is asked in words of its own: where each parameter of a request goes, what its values are
called there, and where the answer says what the caller wants to know. The data plane applies it.
"""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ailink.providers.rules import Parameters
from ailink.providers.vocabulary import UPLOADS, Operation

WORDED: Final[frozenset[Operation]] = frozenset({"audio_speech", "audio_transcriptions"})
"""Operations that can be asked for in other words than the caller's."""

GATEWAYS: Final = frozenset({"response_format", "timestamp_granularities", "file"})
"""Parameters of transcripts that are read here, because the gateway tells the answer in its own words."""

_Name = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
_Target = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[A-Za-z_][A-Za-z0-9_-]{0,63})?$")]
_Word = Annotated[str, Meta(min_length=1, max_length=256)]
_Pointer = Annotated[str, Meta(pattern=r"^(/[^/]+)+$")]
Place = Literal["path", "query", "body"]


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"place": "in"}):
    """One parameter of the caller's. Without a field, parameters go as they are, to where `rest` says.

    `model` is always what the provider calls it; a field says where that goes.
    """

    place: Place = "body"
    """`in`: `path` fills the braces of that name, `query`, `body`."""
    to: _Target | None = None
    """Its name there, the same without; `settings.speed`: a member of an object in a JSON body."""
    words: dict[_Word, str | dict[_Name, str]] = {}
    """What the caller's words stand for: another value, or several parameters of the same place."""
    only: bool = False
    """Words that are not listed are refused with 400, which lists them."""
    like: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """A regular expression: words that are not listed and not like it are refused, too."""
    form: str | None = None
    """What is sent, with `{value}` in it, and perhaps `{model}`."""
    default: _Word | None = None
    """What it is when the caller does not say it; one of the words, or a value."""
    require: bool = False
    """Its absence is refused with 400."""
    drop: bool = False
    """Left out; announced in `x-ailink-dropped`."""
    reject: str | None = None
    """Refused with 400; the text says what to do instead. `null` and `false` ask for nothing."""
    min: int | float | None = None
    max: int | float | None = None
    """Numbers beyond are brought to it; announced."""


class Timed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list of what was said when: a JSON pointer to it, and names of its elements' members."""

    at: _Pointer
    text: _Name = "text"
    start: _Name = "start"
    end: _Name = "end"
    only: dict[_Name, str] = {}
    """Of its elements only those that have these members."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a provider's answer says what a transcript has: JSON pointers; times in seconds."""

    text: _Pointer
    language: _Pointer | None = None
    duration: _Pointer | None = None
    """What it is billed for; without it the recording's own length is."""
    words: Timed | None = None
    segments: Timed | None = None
    """Without them there are no subtitles."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one operation is asked for."""

    body: Literal["json", "form", "file"]
    """`file`: the file of the caller's form as it is, and nothing else."""
    fields: dict[_Name, Field]
    rest: Literal["body", "query"] = "body"
    """Where parameters go that have no field."""
    answer: Answer | None = None
    """None: the answer passes as it comes, as sound does."""

    def in_path(self) -> frozenset[str]:
        """What the path names in braces that each request fills in."""
        return frozenset(field.to or name for name, field in self.fields.items() if field.place == "path")


Requests = dict[Operation, Request]


def fault(requests: Requests, operations: dict[Operation, str], parameters: Parameters) -> str | None:
    """Why a row's `[requests]` cannot be followed, or None."""
    for operation, request in requests.items():
        reason = _fault(operation, request, operations)
        if reason is None and (operation in parameters or "all" in parameters):
            reason = "what becomes of parameters stands here alone, not in `parameters`"
        if reason is not None:
            return f"{operation}: {reason}"
    return None


def _fault(operation: Operation, request: Request, operations: dict[Operation, str]) -> str | None:
    form = operation in UPLOADS
    if operation not in WORDED:
        return f"only {' and '.join(sorted(WORDED))} can be asked for in other words"
    if operation not in operations:
        return "the row does not serve this operation"
    if (request.body == "json") == form:
        return f"its body is {'`form` or `file`' if form else '`json`'}"
    if request.body == "file" and request.rest == "body":
        return 'a body that is a file has no place for others: `rest = "query"`'
    if (request.answer is not None) != form:
        return "`answer` says where a transcript stands" if form else "sound passes as it comes: no `answer`"
    if twice := _twice(request):
        return f"two fields go to `{twice}`"
    for name in sorted(request.in_path()):
        if f"{{{name}}}" not in operations[operation]:
            return f"its path does not name {{{name}}}"
    for name, field in request.fields.items():
        if form and name in GATEWAYS:
            return f"{name}: the gateway reads it itself"
        if (reason := _field_fault(name, field, request)) is not None:
            return f"{name}: {reason}"
    return None


def _twice(request: Request) -> str | None:
    """Where two fields go."""
    places = [
        f"{field.place} {field.to or name}"
        for name, field in request.fields.items()
        if not (field.drop or field.reject is not None or (field.words and field.only))
    ]
    return next((place.partition(" ")[2] for place in places if places.count(place) > 1), None)


def _field_fault(name: str, field: Field, request: Request) -> str | None:
    told = {part for part in field.__struct_fields__ if getattr(field, part) != _USUAL[part]}
    alone = told & {"drop", "reject"}
    if alone and len(told) > 1:
        return f"`{min(alone)}` stands alone"
    if name == "model" and told - {"place", "to"}:
        return "is what the provider calls it: only `in` and `to`"
    if field.place == "body" and request.body == "file" and not alone:
        return "a body that is a file has no place for it"
    if field.place == "path" and not (field.require or field.default is not None or name == "model"):
        return "a path needs it: `require` or `default`"
    if field.to is not None and "." in field.to and (field.place, request.body) != ("body", "json"):
        return "only a JSON body has members of members"
    if field.only and not field.words:
        return "`only` goes with `words`"
    if field.only and field.default is not None and field.default not in field.words:
        return f"its default is none of its words: {', '.join(field.words)}"
    if field.like is not None:
        try:
            re.compile(field.like)
        except re.error as error:
            return f"`like` is no regular expression: {error}"
    if field.form is not None and field.form.count("{value}") != 1:
        return "`form` has {value} in it, once"
    if field.require and field.default is not None:
        return "`default` and `require` exclude each other"
    if field.min is not None and field.max is not None and field.min > field.max:
        return "`min` is more than `max`"
    if (field.min is not None or field.max is not None) and (field.words or field.form is not None):
        return "numbers have no words"
    return None


_USUAL: Final = {part: getattr(Field(), part) for part in Field.__struct_fields__}
