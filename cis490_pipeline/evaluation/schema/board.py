"""Form of a leaderboard."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.parts import (
    Count,
    Difference,
    Digest,
    Host,
    Pair,
    Processor,
    Score,
    Seeds,
    Share,
    Split,
    Why,
)


class Row(Score):
    """One model or probe on the test side."""

    model: str
    kind: Literal["model", "probe"]
    architecture: str | None
    variant: str | None
    accuracy: Share | None
    balanced_accuracy: Share | None
    matthews: float | None
    mean_confidence: Share | None
    calibration_error: Share | None
    host_minimum: Host | None
    checkpoint_digest: Digest | None
    seed: int
    val_macro_f1: Share | None
    selected: Annotated[bool, Meta(description="best of its variant on validation")]
    seeds: Seeds


class Versus(TypedDict):
    """The chosen model against each probe."""

    model: str | None
    comparisons: list[Pair]
    best_probe: NotRequired[Annotated[str | None, Meta(description="best on validation")]]
    beats: NotRequired[bool | None]
    controls: NotRequired[list[str]]
    not_beaten: NotRequired[list[str]]


class Scenario(TypedDict):
    """A fault of the recording."""

    name: str
    what: str


class RobustnessRow(Difference):
    """One model under one fault; the difference is from the same windows without it."""

    model: str
    scenario: str
    macro_f1: Share | None
    n_windows: Count
    why: Why


class Robustness(TypedDict):
    """What faults of the recording cost."""

    scenarios: list[Scenario]
    rows: list[RobustnessRow]


class Leaderboard(Split):
    """All models of one split side by side, the probes among them, and which differences hold."""

    format: Literal["leaderboard"]
    split_version: int
    schema: Annotated[str, Meta(description="hash of the feature schema")]
    metric: Literal["macro_f1"]
    selected: Annotated[
        dict[str, str | None], Meta(description="best model of each variant on validation")
    ]
    rows: list[Row]
    pairs: list[Pair]
    best_vs_probe: Versus
    ablation: list[dict[str, Any]]
    ablation_of: dict[str, Any]
    probes: NotRequired[dict[str, Any] | None]
    host_identity: NotRequired[dict[str, Any] | None]
    robustness: NotRequired[Robustness | None]
    study: NotRequired[dict[str, Any] | None]
    processor: NotRequired[Processor]
