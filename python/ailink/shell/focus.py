"""Spend in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification (https://focus.finops.org)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from ailink.ledger.money import Usd
from ailink.ledger.report import Dimension, Line, Report

DIMENSIONS: Final[tuple[Dimension, ...]] = (
    "day", "organization", "team", "project", "user", "key", "model", "deployment" )  # fmt: skip
"""What a row is about: a day of one key on one model at one deployment."""
TAGGED: Final = ("organization", "team", "project", "user", "key")
EPOCH: Final = date(1970, 1, 1)


def to_csv(report: Report, providers: Mapping[str, str], safe: Callable[[str | None], str]) -> bytes:
    """A report that is grouped by `DIMENSIONS`. `providers`: deployment → provider; `safe` marks names that
    a spreadsheet would run.
    """
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for line in report.lines:
        row = {name: safe(value) for name, value in _row(line, providers).items()}
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow(row)
    return out.getvalue().encode()


def _row(line: Line, providers: Mapping[str, str]) -> dict[str, str]:
    names = dict(zip(DIMENSIONS, line.names, strict=True))
    text = {name: value for name, value in names.items() if isinstance(value, str)}
    day = EPOCH + timedelta(days=int(names["day"] or 0))
    month = day.replace(day=1)
    cost = Usd(line.amounts.cost_pico).text()
    tokens = str(line.amounts.input + line.amounts.output)
    provider = providers.get(text.get("deployment", ""), "")
    tags = {f"ailink/{name}": text[name] for name in TAGGED if name in text}
    return {
        "BilledCost": cost,
        "BillingAccountId": text.get("organization", "") or "default",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _instant((month + timedelta(days=32)).replace(day=1)),
        "BillingPeriodStart": _instant(month),
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": f"{text.get('model', '')} ({line.amounts.requests} requests)",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": _instant(day + timedelta(days=1)),
        "ChargePeriodStart": _instant(day),
        "ConsumedQuantity": tokens,
        "ConsumedUnit": "Tokens",
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": provider,
        "ListCost": cost,
        "PricingQuantity": tokens,
        "PricingUnit": "Tokens",
        "ProviderName": provider,
        "PublisherName": provider,
        "ResourceId": text.get("deployment", ""),
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": text.get("model", ""),
        "SkuId": text.get("model", ""),
        "SubAccountId": text.get("team", ""),
        "Tags": msgspec.json.encode(tags).decode(),
    }


def _instant(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat().replace("+00:00", "Z")
