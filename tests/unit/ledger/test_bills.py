"""Cost exports of providers, as their documentation shows them."""

import json

import pytest

from ailink.ledger.bills import BillError, day_text, matched, read

USD = 10**12


def test_openai() -> None:
    page = {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": 1_730_419_200,
                "end_time": 1_730_505_600,
                "results": [
                    {"amount": {"value": 0.06, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, input"},
                    {"amount": {"value": 0.1, "currency": "usd"}, "line_item": "gpt-4o-2024-08-06, output"},
                    {"amount": {"value": 0.5, "currency": "usd"}, "line_item": None},
                ],
            }
        ],
        "has_more": False,
    }
    bill = read(json.dumps(page), "openai")
    assert {(day_text(day), model): pico for (day, model), pico in bill.items()} == {
        ("2024-11-01", "gpt-4o-2024-08-06"): USD * 16 // 100,
        ("2024-11-01", ""): USD // 2,
    }
    # Pages as a list, or a line each: of two accounts, which have the day in common.
    (bucket,) = page["data"]  # type: ignore[misc]
    other = {"data": [{**bucket, "results": bucket["results"][2:]}]}  # type: ignore[dict-item,index]
    assert read(json.dumps([page, other]), "openai")[(20_028, "")] == USD
    assert read(f"{json.dumps(page)}\n{json.dumps(other)}\n", "openai")[(20_028, "")] == USD
    with pytest.raises(BillError, match="the same answer is in it twice"):
        read(json.dumps([page, page]), "openai")
    # Not grouped, it says of no model what it cost.
    with pytest.raises(BillError, match="group_by=line_item"):
        read(json.dumps(other), "openai")


def test_anthropic_counts_in_cents() -> None:
    results = [
        {"currency": "USD", "amount": "123.78912", "model": "claude-opus-4", "cost_type": "tokens"},
        {"currency": "USD", "amount": "100", "model": None, "description": "Web Search Usage"},
    ]
    page = {"data": [{"starting_at": "2025-08-01T00:00:00Z", "results": results}], "has_more": False}
    assert read(json.dumps(page), "anthropic") == {
        (20_301, "claude-opus-4"): 1_237_891_200_000,
        (20_301, "Web Search Usage"): USD,
    }


LEGACY = """lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UsageType,lineItem/UnblendedCost,\
lineItem/CurrencyCode
2026-11-01T00:00:00Z,AmazonBedrock,USE1-Claude3Sonnet-input-tokens,0.30,USD
2026-11-01T05:00:00Z,AmazonBedrock,USE1-Claude3Sonnet-input-tokens,0.20,USD
2026-11-01T00:00:00Z,AmazonS3,USE1-TimedStorage,9.00,USD
"""
SECOND = """line_item_usage_start_date,line_item_product_code,line_item_usage_type,\
line_item_unblended_cost,product_model
2026-11-01 00:00:00,AmazonBedrock,USE1-NovaLite-output-tokens,1e-7,
"""


def test_aws() -> None:
    assert read(LEGACY, "aws") == {(20_758, "USE1-Claude3Sonnet-input-tokens"): USD // 2}
    assert read(SECOND, "aws") == {(20_758, "USE1-NovaLite-output-tokens"): 100_000}
    # Lines of taxes have no service, and may have no cost.
    assert read(LEGACY + "2026-11-01T00:00:00Z,,,,USD\n", "aws") == read(LEGACY, "aws")


def test_csv() -> None:
    text = "\ufeffdate,model,cost\n2026-11-01,m,0.1\n2026-11-01,m,0.2\n2026-11-02,m,-0.05\n"
    assert read(text, "csv") == {(20_758, "m"): USD * 3 // 10, (20_759, "m"): -USD // 20}


@pytest.mark.parametrize(
    ("form", "text", "part"),
    [
        ("openai", "{", "not JSON"),
        ("openai", "[" * 100_000, "JSON"),
        ("openai", "{}", "a list `data`"),
        ("openai", '{"data": [{"start_time": "x", "results": []}]}', "seconds since 1970"),
        ("openai", '{"data": []}', "no line"),
        ("anthropic", '{"data": [{"starting_at": "?", "results": []}]}', "`?` is no day"),
        ("aws", "date,model,cost\n2026-11-01,m,1\n", "no Cost and Usage Report"),
        ("csv", "day,model,cost\n2026-11-01,m,1\n", "`date`, `model` and `cost`"),
        ("csv", "date,model,cost\n2026-11-31,m,1\n", "line 2: `2026-11-31` is no day"),
        ("csv", "date,model,cost\n2026-11-01,m,NaN\n", "no amount"),
        ("csv", "date,model,cost\n2026-11-01,m,1e99\n", "no amount"),
        ("csv", "date,model,cost,currency\n2026-11-01,m,1,EUR\n", "`EUR` is not US dollars"),
        ("csv", "", "no line"),
        ("csv", "date,model,cost\n2026-11-01,m,1,234.50\n", "line 2: more cells than columns"),
        ("csv", "date,model,cost\n2026-11-01,m,1\n2026-11-02,m\n", "line 3: fewer cells"),
        ("csv", 'date,model,cost\n2026-11-01,m,1\n2026-11-02,"m', "unexpected end of data"),
        ("csv", "date,model,cost\n2026-11-01,,1\n", "names a model"),
        ("csv", "date,model,cost\n2026-11-01,m\0,1\n", "no name of a model"),
        ("aws", LEGACY[: LEGACY.rindex("9.00") + 2], "line 4: fewer cells"),
        ("aws", LEGACY.replace("0.30", ""), "no amount"),
    ],
)
def test_what_is_no_bill_is_told(form: str, text: str, part: str) -> None:
    with pytest.raises(BillError, match=part.replace("?", r"\?")):
        read(text, form)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4.1", None),
        ("gpt-4o-audio-preview", None),
        ("claude-sonnet-4", "claude-sonnet-4-20250514"),
        ("Claude-Sonnet-4-20250514", "claude-sonnet-4-20250514"),
        ("USE1-Claude3Sonnet-input-tokens", "anthropic.claude-3-sonnet-20240229-v1:0"),
        ("USE1-Claude3SonnetX-input-tokens", None),
        ("Web Search Usage", None),
        ("", None),
    ],
)
def test_words_of_bills_are_models(said: str, model: str | None) -> None:
    models = [
        "gpt-4", "gpt-4o", "gpt-4o-mini", "claude-sonnet-4-20250514",
        "anthropic.claude-3-sonnet-20240229-v1:0", "anthropic.claude-3-5-sonnet-20240620-v1:0",
    ]  # fmt: skip
    assert matched(said, models) == model
