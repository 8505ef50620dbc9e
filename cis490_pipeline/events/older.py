"""Older form of events: the six types of the older dashboard, with their required keys only."""

from typing import Final

import msgspec

from cis490_pipeline.events.contract import (
    AttackProfile,
    Embedding,
    Event,
    ModelMetric,
    ModelPerf,
    PhaseNow,
    Prediction,
)
from cis490_pipeline.storage.json_text import Json

OLDER_TYPES: Final = (ModelMetric, ModelPerf, Prediction, AttackProfile, Embedding, PhaseNow)
"""Event types that the older dashboard shows."""


def older_form(event: Event) -> dict[str, Json] | None:
    """Convert an event to the older dashboard's form; None if it has no such form.

    Extensions have none, nor do events with an unknown required value: the older dashboard would
    show null as zero.
    """
    if not isinstance(event, OLDER_TYPES):
        return None
    fields = [field for field in msgspec.structs.fields(event) if field.required]
    values = {field.encode_name: getattr(event, field.name) for field in fields}
    if None in values.values():
        return None
    return {"type": type(event).__struct_config__.tag, **values}
