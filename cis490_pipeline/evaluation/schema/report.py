"""Form of one model's report."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.alarm import Detection
from cis490_pipeline.evaluation.schema.host_baseline import HostBaseline
from cis490_pipeline.evaluation.schema.parts import (
    Amount,
    Count,
    Digest,
    Host,
    Kind,
    Plain,
    Processor,
    Score,
    ScoreEnds,
    Share,
    Split,
    Why,
)

Correlation = Annotated[float, Meta(ge=-1, le=1)]


class SideScores(Score):
    """All scores of one side."""

    accuracy: Share | None
    balanced_accuracy: Share | None
    matthews: Correlation | None
    mean_confidence: Share | None
    brier: Annotated[float | None, Meta(description="0 to 2, less is better")]
    log_loss: Annotated[float | None, Meta(description="nats, less is better")]
    calibration_error: Share | None


class Baselines(TypedDict):
    """Of how many episodes the baseline was checked, and which were flagged."""

    n_episodes: Count
    n_checked: Count
    n_suspect: Count
    suspect: list[str]


class PhaseScores(TypedDict):
    """Scores of one phase."""

    phase: str
    precision: Share | None
    recall: Share | None
    f1: Share | None
    support: Count
    predicted: Count
    pr_auc: NotRequired[Share | None]
    prevalence: NotRequired[Share | None]


class Confusion(TypedDict):
    """Windows by true phase (rows) and predicted phase (columns)."""

    labels: list[str]
    counts: list[list[Count]]


class GroupScore(TypedDict):
    """Score of a group of windows."""

    tested: bool
    macro_f1: Share | None
    accuracy: Share | None
    n_episodes: Count
    n_windows: Count
    why: Why


class Group(GroupScore):
    """The same with its interval, which windows that were never tested lack a method of."""

    ci_low: Share | None
    ci_high: Share | None
    ci_level: NotRequired[Share]
    ci_method: NotRequired[str | None]


class HostScore(Group):
    """Score of the windows of one host."""

    host_id: str


class ProfileScore(Group):
    """Score of the windows of one profile."""

    profile: str


class CellScore(GroupScore):
    """Score of one profile on one host: a point, as a cell holds few episodes."""

    profile: str
    host_id: str
    ci_low: NotRequired[None]
    ci_high: NotRequired[None]


class Sureness(TypedDict):
    """How far probabilities are from what came true."""

    brier: Amount | None
    log_loss: Amount | None
    ece: Share | None


class Bin(TypedDict):
    """Windows of like confidence."""

    confidence: Share | None
    accuracy: Share | None
    n: Count


class RiskPoint(TypedDict):
    """Share wrong among the surest windows."""

    coverage: Share
    risk: Share


class Reliability(TypedDict):
    """Probabilities before and after a temperature that was fitted on val."""

    temperature: Annotated[float, Meta(gt=0)] | None
    fitted_on: str
    why: NotRequired[Why]
    n_bins: Count
    before: Sureness
    after: Sureness | None
    bins_before: list[Bin]
    bins_after: list[Bin] | None
    aurc: Share | None
    risk_coverage: list[RiskPoint]


class BoundaryError(TypedDict):
    """Distance of predicted from true beginnings of segments, seconds."""

    median: Amount | None
    p90: Amount | None
    n: Count
    n_true: NotRequired[Annotated[Count, Meta(description="beginnings that could be found")]]
    why: NotRequired[Why]


class Segments(TypedDict):
    """Scores by segment of one phase."""

    f1_50: Share | None
    boundary_error_s: BoundaryError
    n_true: Count
    n_predicted: Count
    n_found: NotRequired[Count]


class Subset(ScoreEnds):
    """Macro F1 over another choice of windows."""

    subset: str
    what: str
    ci_level: NotRequired[Share]
    ci_method: str | None
    n_episodes: Count
    n_windows: Count
    why: NotRequired[Why]


class Extra(TypedDict, total=False):
    """What a caller of ``evaluate`` may know besides."""

    n_test_openings: Count
    training: dict[str, Plain]
    processor: Processor
    host_baseline: HostBaseline


class EvalReport(SideScores, Split, Extra):
    """What one model or probe is worth; scores without a side are of the test side."""

    format: Literal["eval_report"]
    evaluation_version: str
    model: str
    kind: Kind
    architecture: str | None
    variant: str | None
    metric: Literal["macro_f1"]
    checkpoint_digest: Digest | None
    seed: int
    version: Annotated[int, Meta(description="of the split")]
    val: SideScores
    baselines: dict[str, Baselines]
    per_class: list[PhaseScores]
    confusion: Confusion
    per_profile: list[ProfileScore]
    per_host: list[HostScore]
    host_minimum: Host | None
    profile_host: list[CellScore]
    reliability: NotRequired[Reliability | None]
    segments: NotRequired[Segments | None]
    subsets: NotRequired[list[Subset] | None]
    detection: NotRequired[Detection | None]
