"""Form of the account of a model whose windows are measured against each host's own record."""

from typing import Annotated, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.alarm import Detection, HourlyRate, Times
from cis490_pipeline.evaluation.schema.parts import (
    Amount,
    Count,
    Digest,
    Found,
    Score,
    Share,
    Why,
)


class HostRecord(TypedDict):
    """What one host was calibrated by."""

    host_id: str
    episode_id: str
    duration_s: Amount
    record: Digest
    suspect: Annotated[bool, Meta(description="flagged by the cleanliness check, or by labels")]


class FlaggedClean(Found):
    """Clean segments of 15 s of one host that the cleanliness check flags: 5 % are meant."""

    side: str
    host_id: Annotated[str | None, Meta(description="null: all hosts of the side")]
    n: Count
    n_flagged: Count


class CalibrationScores(TypedDict):
    """One mode of calibration, on the windows that both share; the alarm was fitted on val."""

    mode: str
    val: Score
    test: Score
    time_to_detection: Times
    per_hour: HourlyRate


class BaselineLength(TypedDict):
    """Records of one length, on val alone: the alarm was fitted on the very windows it is read on.

    Good for comparing lengths, and too good for an unseen host.
    """

    seconds: Annotated[Amount | None, Meta(description="asked for; null: the whole run")]
    shortest_s: Amount | None
    val: Score | None
    n_infected: Count
    n_detected: Count
    share_detected: Share | None
    share_low: Share | None
    share_high: Share | None
    per_hour: HourlyRate | None
    why: Why


class HostBaseline(TypedDict):
    """A model with ``host_baseline``, as a device with a record of its own runs it."""

    why: Annotated[str | None, Meta(description="why nothing was measured")]
    hosts_without: Annotated[dict[str, str], Meta(description="scored hosts without a record")]
    records: list[HostRecord]
    excluded: Annotated[list[str], Meta(description="episodes of the records: never scored")]
    n_test_openings: Count
    rows: list[CalibrationScores]
    lengths: list[BaselineLength]
    flagged_clean: list[FlaggedClean]
    detection: Detection | None
