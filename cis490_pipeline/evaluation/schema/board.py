"""Form of a leaderboard."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.controls import Controls
from cis490_pipeline.evaluation.schema.parts import (
    Count,
    Difference,
    DifferenceEnds,
    Digest,
    Host,
    HostScores,
    Kind,
    Pair,
    Processor,
    Score,
    Seeds,
    Share,
    Split,
    Why,
)
from cis490_pipeline.evaluation.schema.study import CarriedStudy

SelectedBy = Literal["val", "host_out"]


class Row(Score):
    """One model, ensemble or probe on the test side."""

    model: str
    kind: Kind
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
    selected: Annotated[bool, Meta(description="chosen of its variant")]
    seeds: Seeds
    parts: NotRequired[Annotated[list[str], Meta(description="models of an ensemble")]]


class Versus(TypedDict):
    """The chosen model against each probe, and against the best of them on validation."""

    model: str | None
    comparisons: list[Pair]
    best_probe: NotRequired[Annotated[str | None, Meta(description="best on validation")]]
    difference: NotRequired[float | None]
    ci_low: NotRequired[float | None]
    ci_high: NotRequired[float | None]
    p_value: NotRequired[Share | None]
    p_holm: NotRequired[Share | None]
    n_episodes: NotRequired[Count | None]
    beats: NotRequired[bool | None]
    controls: NotRequired[list[str]]
    not_beaten: NotRequired[list[str]]
    why: NotRequired[Why]


class AblationDifference(DifferenceEnds):
    """Macro F1 of a setting minus that of the one in use, with its paired interval."""


class AblationRow(TypedDict):
    """One way of calibration, trained and scored."""

    model: str
    mode: str
    gauges: Annotated[str, Meta(description="treatment of drifting gauges")]
    scaling: str
    in_use: bool
    why_missing: Annotated[str | None, Meta(description="why it was not trained")]
    val: Score | None
    test: Score | None
    against_used: AblationDifference | None


class DrawnEpisodes(TypedDict):
    """How many of a side's episodes were drawn."""

    n_episodes: Count
    n_episodes_in_all: Count


class AblationInfo(TypedDict, total=False):
    """What the ways of calibration were compared with; empty where they were not."""

    architecture: str
    variant: str
    split: str
    seed: int
    calibration_episodes: list[str]
    hosts_refused: Annotated[dict[str, str], Meta(description="why, by host")]
    hosts_suspect: list[str]
    host_baseline_missing: str | None
    drawn: Annotated[
        dict[str, DrawnEpisodes], Meta(description="by side, where it has more than were drawn")
    ]


class Ablation(AblationInfo):
    """``ablation.json``: every way of calibration on identical windows."""

    rows: list[AblationRow]


class ProbeRow(TypedDict):
    """One probe and what it knows."""

    model: str
    knows: str
    role: Literal["control", "shortcut"]
    detail: Annotated[str | None, Meta(description="what it learnt, where that can be written")]


class ProbeTraining(TypedDict):
    """What the probes learnt from."""

    variant: str
    calibration: str
    learner: str
    fitted_on: str
    seed: int
    n_train_episodes: Count
    n_train_windows: Count
    n_train_episodes_in_all: Count
    n_train_windows_in_all: Count
    rows: list[ProbeRow]


class LargestHost(TypedDict):
    """The host with the most windows: always guessing it would be right so often."""

    host_id: str
    share: Share


class HostIdentityRow(HostScores):
    """Prediction of the host from one kind of feature."""

    features: str


class HostIdentity(TypedDict):
    """How well the host is predicted from clean windows."""

    what: str
    variant: str
    learner: str
    seed: int
    n_hosts: Count
    n_episodes: Count
    n_episodes_in_all: Count
    n_windows: Count
    largest_host: LargestHost | None
    chance_balanced: Share | None
    rows: list[HostIdentityRow]
    why: Why


class Scenario(TypedDict):
    """A fault of the recording."""

    name: str
    what: str
    n_episodes_changed: NotRequired[Count]


class RobustnessRow(Difference):
    """One model under one fault; the difference is from the same windows without it."""

    model: str
    scenario: str
    macro_f1: Share | None
    macro_f1_unperturbed: NotRequired[Share | None]
    n_windows: Count
    n_windows_changed: NotRequired[Count]
    why: Why


class Robustness(TypedDict):
    """``robustness.json``: what faults of the recording cost."""

    scenarios: list[Scenario]
    rows: list[RobustnessRow]
    split: NotRequired[str]
    side: NotRequired[str]
    seed: NotRequired[int]
    n_episodes: NotRequired[Count]
    n_episodes_in_all: NotRequired[Count]
    left_out: NotRequired[Annotated[dict[str, str], Meta(description="why, by episode")]]
    why: NotRequired[Why]


class Leaderboard(Split):
    """All models of one split side by side, the probes among them, and which differences hold."""

    format: Literal["leaderboard"]
    split_version: int
    schema: Annotated[str, Meta(description="hash of the feature schema")]
    metric: Literal["macro_f1"]
    selected: Annotated[
        dict[str, str | None], Meta(description="chosen model of each variant: best on validation")
    ]
    selected_by: NotRequired[
        Annotated[
            dict[str, SelectedBy],
            Meta(description="by variant, where it is not validation that chose its model"),
        ]
    ]
    rows: list[Row]
    pairs: list[Pair]
    best_vs_probe: Versus
    ablation: list[AblationRow]
    ablation_of: AblationInfo
    probes: NotRequired[ProbeTraining | None]
    host_identity: NotRequired[HostIdentity | None]
    robustness: NotRequired[Robustness | None]
    controls: NotRequired[Controls | None]
    study: NotRequired[CarriedStudy | None]
    processor: NotRequired[Processor]
