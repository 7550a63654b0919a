"""Models that their providers will soon not serve any more."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from ailink.snapshot.model import Model, Snapshot

NOTICE: Final = timedelta(days=90)
"""How long before its end a model is warned about."""


def end_of(model: Model) -> date | None:
    """The day a model ends, as far as it is known."""
    told = model.info.ends if model.info is not None else None
    return None if told is None else date.fromisoformat(told)


def warnings(snapshot: Snapshot, today: date) -> Iterator[str]:
    """One line for every model in the configuration that has ended or ends soon."""
    for model in snapshot.models:
        end = end_of(model)
        if end is None or end - today > NOTICE:
            continue
        behind = sorted({snapshot.deployments[index].model for index in model.deployments})
        when = f"ended on {end}" if end < today else f"ends on {end}"
        yield f"model `{model.name}` ({', '.join(behind)}) {when}: move it to another model"
