"""Events as the older dashboard knows them: six types, and of each the required keys alone."""

from typing import Any, Final

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

OLDER_TYPES: Final = (ModelMetric, ModelPerf, Prediction, AttackProfile, Embedding, PhaseNow)
"""What the older dashboard shows."""


def older_form(event: Event) -> dict[str, Any] | None:
    """Return an event in the older dashboard's words; None if it has none for it.

    That is so for the extensions, and where a required value is unknown: the older dashboard would
    show a null as zero.
    """
    if not isinstance(event, OLDER_TYPES):
        return None
    fields = [field for field in msgspec.structs.fields(event) if field.required]
    values = {field.encode_name: getattr(event, field.name) for field in fields}
    if None in values.values():
        return None
    return {"type": type(event).__struct_config__.tag, **values}
