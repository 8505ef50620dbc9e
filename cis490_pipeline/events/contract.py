"""The events a dashboard understands. One definition; JSON Schema is made from it.

Keys marked as required are exactly those of the older dashboard, so that either side can be
replaced; every other key is optional and left out when unknown.
"""

from typing import Any

import msgspec


class ModelMetric(msgspec.Struct, tag="model_metric", omit_defaults=True, kw_only=True):
    """Score of one model on the test side of one split."""

    model: str
    accuracy: float
    """Macro F1, under the name the older dashboard's bars read."""
    metric: str | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n_episodes: int | None = None
    n_windows: int | None = None
    split: str | None = None
    variant: str | None = None
    untested_profiles: dict[str, list[str]] | None = None
    event_id: str | None = None
    """Identity of the event: a dashboard shows it once, however often it arrives."""


Event = ModelMetric


def encode(events: list[Event]) -> bytes:
    """Return the body of ``POST /publish`` for some events: a JSON list."""
    return msgspec.json.encode(events)


def decode(body: bytes) -> list[Event]:
    """Return the events of a published body.

    Raises
    ------
    msgspec.ValidationError
        Naming the first key that breaks the contract.
    """
    return msgspec.json.decode(body, type=list[Event])


def json_schema() -> dict[str, Any]:
    """JSON Schema of a published body."""
    return msgspec.json.schema(list[Event])


def leaderboard_events(leaderboard: dict[str, Any], version: str) -> list[Event]:
    """Return one event per model of a leaderboard that has a score.

    Parameters
    ----------
    leaderboard : what ``leaderboard.json`` holds.
    version : what makes an event's identity new when the numbers are, such as a digest.
    """
    return [
        ModelMetric(
            model=row["model"],
            accuracy=row["macro_f1"],
            metric="macro_f1",
            ci_low=row["ci_low"],
            ci_high=row["ci_high"],
            n_episodes=row["n_episodes"],
            n_windows=row["n_windows"],
            split=leaderboard["split"],
            variant=row.get("variant"),
            untested_profiles=leaderboard["untested_profiles"],
            event_id=f"{leaderboard['split']}/{row['model']}/{version}",
        )
        for row in leaderboard["rows"]
        if row["kind"] == "model" and row["macro_f1"] is not None
    ]
