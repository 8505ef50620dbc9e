"""Event contract: every type a dashboard accepts. The JSON Schema is generated from it.

Six types are those of the older dashboard, with exactly its required keys, so that either side can
be replaced; every other key is optional and omitted when unknown. The remaining types are
extensions under names that an older dashboard does not know.
"""

from typing import Annotated, Generic, Literal, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from cis490_pipeline.events.identity import Published, identified
from cis490_pipeline.events.values import (
    Channels,
    Count,
    Curve,
    Identity,
    Name,
    Names,
    Number,
    Point,
    Positive,
    Seconds,
    Share,
    Text,
    Times,
)
from cis490_pipeline.storage.json_text import Json

MAX_EVENTS = 20_000
"""Events in one published body, at most."""


class ModelMetric(Published, tag="model_metric", omit_defaults=True, kw_only=True):
    """Score of one model on the test side of one split."""

    model: Name
    accuracy: Share
    """Macro F1, under the key that the older dashboard's bars read."""
    metric: Name | None = None
    ci_low: Share | None = None
    ci_high: Share | None = None
    n_episodes: Count | None = None
    n_windows: Count | None = None
    split: Name | None = None
    variant: Name | None = None
    untested_profiles: (
        Annotated[dict[Name, Annotated[list[Name], Meta(max_length=256)]], Meta(max_length=256)]
        | None
    ) = None


class ModelPerf(Published, tag="model_perf", omit_defaults=True, kw_only=True):
    """Inference latency of one model, one window at a time, on the device that measured it."""

    model: Name
    latency_us: Positive
    """Median latency per window, µs."""
    accuracy: Share | None
    """Macro F1; null if unknown."""
    p50_us: Positive | None = None
    p95_us: Positive | None = None
    p99_us: Positive | None = None
    windows_per_s: Positive | None = None
    device: Text | None = None
    variant: Name | None = None
    n_windows: Count | None = None
    """Number of windows timed."""


class Prediction(Published, tag="prediction", omit_defaults=True, kw_only=True):
    """Predicted phase of one window, with the true phase if it is known."""

    episode_id: Identity
    window_idx: Count
    predicted: Name
    actual: Name | None
    """True phase; null where there are no labels, as on a live device."""
    model: Name | None = None
    confidence: Share | None = None
    """Probability of the predicted phase."""
    t_start_s: Seconds | None = None
    """Start of the window, seconds since the episode's start."""
    t_end_s: Seconds | None = None
    alarm: bool | None = None
    """Whether this model's alarm is on at the window's end."""
    p_infected: Share | None = None
    """Filtered probability of the phases that raise the alarm."""
    host_id: Name | None = None


class AttackProfile(Published, tag="attack_profile", omit_defaults=True, kw_only=True):
    """Median trajectory of a channel over one attack profile's episodes, aligned at a phase."""

    name: Name
    shape: Name | Curve
    """Kind of trajectory, as a word or as a curve of its own."""
    curve: Annotated[list[Number | Point | None], Meta(max_length=2000)]
    """Median over episodes, at equal steps or as pairs of time and value."""
    low: Curve | None = None
    """Lower quartile."""
    high: Curve | None = None
    """Upper quartile."""
    t_start_s: Seconds | None = None
    """Time of the first value, seconds from the start of the aligning phase."""
    step_s: Positive | None = None
    channel: Name | None = None
    unit: Name | None = None
    aligned_at: Name | None = None
    """Phase whose start is time zero."""
    n_episodes: Count | None = None


class Embedding(Published, tag="embedding", omit_defaults=True, kw_only=True):
    """One window as a point of a model's hidden representation, scaled to 0 to 1."""

    x: Number
    y: Number
    phase: Name
    z: Number | None = None
    predicted: Name | None = None
    model: Name | None = None
    episode_id: Identity | None = None
    window_idx: Count | None = None


class PhaseNow(Published, tag="phase", omit_defaults=True, kw_only=True):
    """Current phase of an episode."""

    phase: Name
    episode_id: Identity | None = None
    t_s: Seconds | None = None
    """Start of the phase, seconds since the episode's start."""


class ModelFailure(Published, tag="model_failure", omit_defaults=True, kw_only=True):
    """A model without a score, or one that a device cannot run, and the reason; shown as failed."""

    model: Name
    why: Text
    split: Name | None = None
    variant: Name | None = None
    device: Text | None = None
    """Device that cannot run it; absent if the score is what is missing."""


class Confusion(Published, tag="confusion", omit_defaults=True, kw_only=True):
    """Confusion matrix of one model: windows by true (row) and predicted (column) phase."""

    model: Name
    labels: Annotated[list[Name], Meta(min_length=1, max_length=16)]
    counts: Annotated[list[Annotated[list[Count], Meta(max_length=16)]], Meta(max_length=16)]
    split: Name | None = None
    variant: Name | None = None

    def __post_init__(self) -> None:
        """Refuse a matrix that is not square."""
        n = len(self.labels)
        if len(self.counts) != n or any(len(row) != n for row in self.counts):
            raise ValueError(f"counts must have {n} rows of {n}, one for each label")


class GroupMetric(Published, tag="group_metric", omit_defaults=True, kw_only=True):
    """Score of one model on one attack profile of one host."""

    model: Name
    profile: Name
    host_id: Name
    macro_f1: Share | None
    """Null if it was not tested; ``why`` then gives the reason."""
    why: Text | None = None
    ci_low: Share | None = None
    ci_high: Share | None = None
    n_episodes: Count | None = None
    n_windows: Count | None = None
    split: Name | None = None
    variant: Name | None = None


class PhaseSpan(msgspec.Struct, kw_only=True):
    """Interval of one true phase in an episode."""

    phase: Name
    start_s: Seconds
    end_s: Seconds


class Episode(Published, tag="episode", omit_defaults=True, kw_only=True):
    """Episode being replayed or watched, with its true phases if they are known.

    A newer event replaces the older one of the same episode entirely: repeat what is still true.
    """

    episode_id: Identity
    host_id: Name | None = None
    profile: Name | None = None
    sample_name: Name | None = None
    duration_s: Positive | None = None
    phases: Annotated[list[PhaseSpan], Meta(max_length=64)] | None = None
    infection_s: Seconds | None = None
    """Start of the first infected phase; null if there is none."""
    state: Literal["running", "ended"] | None = None
    origin: Literal["replay", "live", "simulated"] | None = None
    speed: Positive | None = None
    """Replay speed: seconds of the episode per second of real time."""
    models: Names | None = None
    """Models whose predictions will follow."""


class Telemetry(Published, tag="telemetry", omit_defaults=True, kw_only=True):
    """Channel readings of an episode at given times."""

    episode_id: Identity
    t_s: Times
    """Seconds since the episode's start, non-decreasing."""
    values: Channels

    def __post_init__(self) -> None:
        """Refuse columns whose length differs from that of the times."""
        n = len(self.t_s)
        for channel, readings in self.values.items():
            if len(readings) != n:
                raise ValueError(
                    f"values[{channel!r}] has {len(readings)} readings for {n} times in t_s"
                )
        if any(b < a for a, b in zip(self.t_s, self.t_s[1:], strict=False)):
            raise ValueError("t_s must not go back")


SourceWord = Literal["ok", "late", "dead", "clock_jump", "calibrating", "suspect_baseline"]


class SourceState(Published, tag="source_state", omit_defaults=True, kw_only=True):
    """State of one telemetry source of a live episode."""

    episode_id: Identity
    source: Name
    """Telemetry source, such as ``guest`` or ``netflow``; ``clock`` for the clock itself, ``agent``
    for what sends the rows."""
    state: SourceWord
    t_s: Seconds | None = None
    why: Text | None = None
    """Why it is in this state, or what is wrong with it."""
    detail: Text | None = None
    """How it does, in a line for a reader; a dashboard shows it with ``why`` beside it."""


Event = (
    ModelMetric
    | ModelPerf
    | Prediction
    | AttackProfile
    | Embedding
    | PhaseNow
    | ModelFailure
    | Confusion
    | GroupMetric
    | Episode
    | Telemetry
    | SourceState
)
Body = Event | Annotated[list[Event], Meta(max_length=MAX_EVENTS)]

_DECODER: msgspec.json.Decoder[Event | list[Event]] = msgspec.json.Decoder(Body)


def encode(events: list[Event]) -> bytes:
    """Encode events as the body of ``POST /publish``: a JSON list."""
    return msgspec.json.encode(events)


def decode(body: bytes) -> list[Event]:
    """Decode a published body: one event or a list of events.

    Raises
    ------
    msgspec.DecodeError
        If it is not JSON.
    msgspec.ValidationError
        Naming the first key that breaks the contract; one such event refuses the whole list.
    """
    try:
        events = _DECODER.decode(body)
    except RecursionError:
        raise msgspec.DecodeError("nested too deep") from None
    except UnicodeDecodeError as wrong:
        raise msgspec.DecodeError(f"not UTF-8: {wrong}") from None
    return events if isinstance(events, list) else [events]


def json_schema() -> dict[str, Json]:
    """JSON Schema of a published body."""
    return msgspec.json.schema(Body)


class ModelScore(TypedDict):
    """What the event of a score takes from a report or a row of a leaderboard."""

    model: str
    kind: Literal["model", "probe", "ensemble"]
    variant: str | None
    macro_f1: float | None
    ci_low: float | None
    ci_high: float | None
    n_episodes: int
    n_windows: int


Row = TypeVar("Row", bound=ModelScore)


class ScoredBoard(TypedDict, Generic[Row]):
    """What events take from a leaderboard; its own form is of ``evaluation``, which live lacks."""

    split: str
    split_digest: str
    untested_profiles: dict[str, list[str]]
    rows: list[Row]


def model_metric(
    scores: ModelScore,
    *,
    split: str,
    variant: str | None,
    untested_profiles: dict[str, list[str]],
    split_digest: str,
) -> ModelMetric:
    """Build the event of a model's macro F1, which is known."""
    assert scores["macro_f1"] is not None, "a model without a score has no event of one"
    event = ModelMetric(
        model=scores["model"],
        accuracy=scores["macro_f1"],
        metric="macro_f1",
        ci_low=scores["ci_low"],
        ci_high=scores["ci_high"],
        n_episodes=scores["n_episodes"],
        n_windows=scores["n_windows"],
        split=split,
        variant=variant,
        untested_profiles=untested_profiles,
    )
    return identified(event, instance=split_digest, recipe=split, model=event.model)


def leaderboard_events(leaderboard: ScoredBoard[Row]) -> list[Event]:
    """Build one event for each scored model of a leaderboard."""
    return [
        model_metric(
            row,
            split=leaderboard["split"],
            variant=row["variant"],
            untested_profiles=leaderboard["untested_profiles"],
            split_digest=leaderboard["split_digest"],
        )
        for row in leaderboard["rows"]
        if row["kind"] == "model" and row["macro_f1"] is not None
    ]
