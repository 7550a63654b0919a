"""Reports as Parquet. Needs the extra `parquet`; imported when one is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ailink.ledger.money import PICO_DIGITS
from ailink.ledger.report import Dimension, Line

# Wide enough for any sum, exact to the last pico-USD.
USD = pa.decimal128(38, PICO_DIGITS)
COUNTS = {
    "requests": "requests", "failed_requests": "errors", "input_tokens": "input", "output_tokens": "output",
    "cache_read_tokens": "cache_read", "cache_write_tokens": "cache_write",
}  # fmt: skip


def written(dimensions: Sequence[Dimension], lines: Sequence[Line]) -> bytes:
    """A row per line: its names, `spend` in US dollars, and what was counted."""
    columns: dict[str, Any] = {}
    for at, dimension in enumerate(dimensions):
        kind = pa.date32() if dimension == "day" else pa.string()
        columns[dimension] = pa.array([line.names[at] for line in lines], _plain(kind)).cast(kind)
    spend = [Decimal(line.amounts.cost_pico).scaleb(-PICO_DIGITS) for line in lines]
    columns["spend"] = pa.array(spend, USD)
    for name, field in COUNTS.items():
        columns[name] = pa.array([getattr(line.amounts, field) for line in lines], pa.int64())
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()


def _plain(kind: pa.DataType) -> pa.DataType:
    # Days are numbers since 1970 here and there.
    return pa.int32() if kind == pa.date32() else kind
