"""What providers say they charge: their cost exports, read into amounts per day and model.

* `openai`: answers of `GET /v1/organization/costs` with `group_by=line_item`
  (https://platform.openai.com/docs/api-reference/usage/costs; amounts in US dollars)
* `anthropic`: answers of `GET /v1/organizations/cost_report` with `group_by[]=description`
  (https://docs.claude.com/en/api/admin-api/usage-cost/get-cost-report; amounts in cents, as text)
* `aws`: a Cost and Usage Report as CSV, legacy or 2.0 columns
  (https://docs.aws.amazon.com/cur/latest/userguide/data-dictionary.html; the lines of Amazon Bedrock)
* `csv`: `date,model,cost`, and `currency` if it is told

Days are UTC. Nothing goes through a float.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from ailink.ledger.money import Usd

Format = Literal["openai", "anthropic", "aws", "csv"]
Bill = dict[tuple[int, str], int]
"""Day since 1970 and the model in the words of the bill → pico-USD."""

_EPOCH: Final = date(1970, 1, 1)
_PICO: Final = Decimal(10) ** 12
MOST_LINES: Final = 2_000_000
# Shorter words may mean anything.
SHORTEST: Final = 5
# More than any bill; what is larger is a mistake.
MOST_USD: Final = Decimal(9_000_000)


class BillError(ValueError):
    """What is wrong with an export, and where."""


def read(text: str, form: Format) -> Bill:
    """Sums per day and model. Raises BillError."""
    bill: Bill = {}
    for number, (day, model, usd) in enumerate(_READERS[form](text), 1):
        if number > MOST_LINES:
            raise BillError(f"more than {MOST_LINES:,} lines: send it in parts")
        if not usd.is_finite() or abs(usd) > MOST_USD:
            raise BillError(f"line {number}: {usd} US dollars is no amount of one line")
        if _NO_TEXT.search(model):
            raise BillError(f"line {number}: {model!r} is no name of a model")
        key = ((day - _EPOCH).days, model)
        bill[key] = bill.get(key, 0) + int((usd * _PICO).to_integral_value())
    if not bill:
        raise BillError("there is no line of a bill in it")
    if not any(model for _, model in bill):
        raise BillError(f"no line of it names a model{_GROUPED.get(form, '')}")
    return bill


# Control characters and halves of pairs, which databases do not take.
_NO_TEXT: Final = re.compile("[\x00-\x1f\ud800-\udfff]")
# What to ask the provider for, so that it tells models.
_GROUPED: Final[Mapping[Format, str]] = {
    "openai": ": ask for the costs with `group_by=line_item`",
    "anthropic": ": ask for the report with `group_by[]=description`",
}


def _openai(text: str) -> Iterator[tuple[date, str, Decimal]]:
    for place, bucket in _buckets(text):
        day = datetime.fromtimestamp(_number(bucket, "start_time", place), UTC).date()
        for line in _list(bucket, "results", place):
            amount = line.get("amount")
            if not isinstance(amount, dict):
                raise BillError(f"{place}: a result has no `amount`")
            _dollars(amount.get("currency", "usd"), place)
            # `gpt-4o-2024-08-06, input`: a model, and what of it.
            item = line.get("line_item") or ""
            yield day, str(item).partition(",")[0].strip(), _decimal(amount.get("value"), place)


def _anthropic(text: str) -> Iterator[tuple[date, str, Decimal]]:
    for place, bucket in _buckets(text):
        day = _day(bucket.get("starting_at"), place)
        for line in _list(bucket, "results", place):
            _dollars(line.get("currency", "USD"), place)
            # In cents.
            usd = _decimal(line.get("amount"), place) / 100
            yield day, str(line.get("model") or line.get("description") or ""), usd


_AWS: Final = {
    "day": ("lineItem/UsageStartDate", "line_item_usage_start_date"),
    "cost": ("lineItem/UnblendedCost", "line_item_unblended_cost"),
    "service": ("lineItem/ProductCode", "line_item_product_code"),
    "usage": ("lineItem/UsageType", "line_item_usage_type"),
    "currency": ("lineItem/CurrencyCode", "line_item_currency_code"),
    "model": ("product/model", "product_model"),
}


def _aws(text: str) -> Iterator[tuple[date, str, Decimal]]:
    for place, row in _rows(text):
        for name in ("day", "cost", "service"):
            if not any(column in row for column in _AWS[name]):
                raise BillError(f"{place}: this is no Cost and Usage Report (no {_AWS[name][0]} column)")
        # Of taxes and fees some cells are empty.
        cell = {name: _first(row, columns) for name, columns in _AWS.items()}
        # Models of other firms are sold over the marketplace, and named by their usage.
        usage = cell["usage"] or ""
        if "bedrock" not in ((cell["service"] or "") + usage).lower() and not cell["model"]:
            continue
        _dollars(cell["currency"] or "USD", place)
        yield _day(cell["day"], place), cell["model"] or usage, _decimal(cell["cost"], place)


def _csv(text: str) -> Iterator[tuple[date, str, Decimal]]:
    for place, row in _rows(text):
        for column in ("date", "model", "cost"):
            if row.get(column) is None:
                raise BillError(f"{place}: expected the columns `date`, `model` and `cost`")
        _dollars((row.get("currency") or "USD").strip(), place)
        yield _day(row["date"], place), row["model"].strip(), _decimal(row["cost"], place)


_READERS: Final[Mapping[Format, Callable[[str], Iterator[tuple[date, str, Decimal]]]]] = {
    "openai": _openai, "anthropic": _anthropic, "aws": _aws, "csv": _csv,
}  # fmt: skip


def _buckets(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of one answer, of several as a list, or one after another in lines."""
    try:
        pages = [json.loads(text, parse_float=Decimal)]
    except ValueError:
        try:
            pages = [json.loads(line, parse_float=Decimal) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise BillError(f"not JSON: {error}") from None
    except RecursionError:
        raise BillError("not JSON of a bill: nested too deeply") from None
    pages = pages[0] if len(pages) == 1 and isinstance(pages[0], list) else pages
    seen: dict[str, str] = {}
    for number, page in enumerate(pages):
        if not isinstance(page, dict):
            raise BillError(f"page {number}: expected an answer with `data`")
        for index, bucket in enumerate(_list(page, "data", f"page {number}")):
            place = f"page {number}, data[{index}]"
            if bucket.get("results"):
                # Of several accounts the same day may come again, but not with the same lines.
                first = seen.setdefault(json.dumps(bucket, sort_keys=True, default=str), place)
                if first != place:
                    raise BillError(f"{place} is {first} once more: the same answer is in it twice")
            yield place, bucket


def _rows(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    # Strict: a quote that is never closed is the end of a file that was cut off.
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        for row in reader:
            # A comma between thousands, say: the amount would be another one.
            if None in row:
                raise BillError(f"line {reader.line_num}: more cells than columns")
            if None in row.values():
                raise BillError(f"line {reader.line_num}: fewer cells than columns")
            yield f"line {reader.line_num}", row
    except csv.Error as error:
        raise BillError(f"line {reader.line_num}: {error}") from None


def _list(holder: Mapping[str, Any], name: str, place: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BillError(f"{place}: expected a list `{name}`")
    return found


def _first(row: Mapping[str, str], columns: tuple[str, ...]) -> str | None:
    return next((row[column] for column in columns if row.get(column)), None)


def _number(holder: Mapping[str, Any], name: str, place: str) -> int:
    value = holder.get(name)
    if not isinstance(value, int) or not 0 <= value < 2**36:
        raise BillError(f"{place}: expected seconds since 1970 in `{name}`")
    return value


def _day(value: Any, place: str) -> date:
    try:
        text = str(value).strip()
        if len(text) == len("2026-01-01"):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        raise BillError(f"{place}: `{value}` is no day") from None


def _decimal(value: Any, place: str) -> Decimal:
    try:
        return Decimal(str(value).strip())
    except InvalidOperation:
        raise BillError(f"{place}: `{value}` is no amount") from None


def _dollars(currency: Any, place: str) -> None:
    if str(currency).upper() != "USD":
        raise BillError(f"{place}: `{currency}` is not US dollars, in which the ledger counts")


# What follows a model's name and names a version of it: a date, `latest`, `v1:0`.
_VERSION: Final = re.compile(r"[-@:_](\d{4}-?\d{2}-?\d{2}|\d{4}|latest|\d{3})?(-?v\d+(:\d+)?)?")
# `USE1-Claude3Sonnet-input-tokens`
_USAGE: Final = re.compile(r"[A-Z0-9]+-(.+?)-(?:input|output|cache|batch|mantle).*", re.IGNORECASE)


def matched(name: str, models: Collection[str]) -> str | None:
    """Which of the models, as deployments name them, the words of a bill mean; None: none of them."""
    said = name.lower()
    usage = _USAGE.fullmatch(name)
    plain = _plain(usage[1] if usage else name)
    fitting = [
        (len(model) if _VERSION.fullmatch(said.removeprefix(own)) else -len(model), model)
        for model in models
        if (own := model.lower()) == said
        or (said.startswith(own) and _VERSION.fullmatch(said.removeprefix(own)))
        or (own.startswith(said) and said and _VERSION.fullmatch(own.removeprefix(said)))
        or (len(plain) >= SHORTEST and re.search(rf"{plain}(?![a-z])", _plain(model)) and usage is not None)
    ]
    exact = next((model for model in models if model.lower() == said), None)
    return exact or (max(fitting)[1] if fitting else None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def day_text(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()


def summed(bill: Bill) -> str:
    """The bill as CSV, which `read` takes."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["date", "model", "cost"])
    writer.writerows([day_text(day), model, Usd(pico).text()] for (day, model), pico in bill.items())
    return out.getvalue()
