"""Form of ``made_from.json``: what a leaderboard and its page were made from."""

from typing import Literal, NotRequired, TypedDict

from cis490_pipeline.domain.split_summary import SplitSummary

Provenance = dict[str, str | int | dict[str, str]]


class CheckpointSummary(TypedDict):
    """What a page shows of a model's checkpoint."""

    input: str
    booster_bytes: int
    parameters: int
    config: dict[str, str | int | float | bool | list[int] | None]
    digest: str
    data_digest: str
    feature_schema: str
    commit: str | None
    seconds: NotRequired[float | None]
    computed_on: NotRequired[dict[str, str]]


class MadeFrom(TypedDict):
    """The split, what a reader needs to repeat the numbers, and every model's checkpoint."""

    format: NotRequired[Literal["made_from"]]
    split: SplitSummary
    provenance: Provenance
    checkpoints: dict[str, CheckpointSummary]
