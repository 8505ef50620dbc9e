"""Form of ``study.json``: profiles and hosts left out, decay over time, drift, hosts in turn."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.host_out import HostOutStudy
from cis490_pipeline.evaluation.schema.parts import Amount, Count, Score, ScoreEnds, Share, Why
from cis490_pipeline.features.stress.population_stability import ChannelDrift


class EpisodeShare(TypedDict):
    """A share of episodes with Wilson's 95 % interval."""

    share: Share | None
    share_low: Share | None
    share_high: Share | None
    why: Why


class AlarmedEpisodes(EpisodeShare):
    """Infected episodes with an alarm."""

    n: Count


class Alarms(TypedDict):
    """Infected episodes of one profile in which the alarm is on, and in which it went on."""

    n_episodes: Count
    any: AlarmedEpisodes
    new: Annotated[
        AlarmedEpisodes, Meta(description="the alarm was off at the last window before infection")
    ]


class Auroc(TypedDict):
    """Area under the ROC curve of a novelty score, with an interval by episode."""

    auroc: Share | None
    ci_low: Share | None
    ci_high: Share | None
    ci_level: Share
    ci_method: str | None
    n_novel_episodes: Count
    n_novel_windows: Count
    n_known_episodes: Count
    n_known_windows: Count
    why: Why


class QuietWindows(TypedDict):
    """False alarms of the same alarm, in windows without infection."""

    n_windows: Count
    share_of_windows: Share | None
    n_clean_only_episodes: Count
    n_clean_only_alarmed: Count


class FittedAlarm(TypedDict):
    """Thresholds of an alarm and what they were fitted on."""

    threshold: float
    release: float
    hold_windows: Count
    n_windows: Count
    n_episodes: Count
    fitted_on: str
    rule: str


class ProfileRow(TypedDict):
    """One profile left out of training, found on one scope."""

    profile: str
    scope: str
    hosts: list[str]
    alarm: Alarms | None
    auroc: Annotated[dict[str, Auroc] | None, Meta(description="by novelty score")]
    quiet: QuietWindows | None
    alarm_of: FittedAlarm | None
    why: Why


class ReferenceRow(TypedDict):
    """The alarm on one profile's test episodes by the model trained on all profiles."""

    profile: str
    alarm: Alarms | None
    why: Why


class ProfileStudy(TypedDict):
    """Leave-one-profile-out: does a model that never saw a profile still raise the alarm."""

    rows: list[ProfileRow]
    reference: list[ReferenceRow]


class HostCell(ScoreEnds):
    """Macro F1 of a model trained on one host and tested on one."""

    trained_on: str
    tested_on: str
    diagonal: bool
    n_host_episodes: Annotated[Count, Meta(description="of the host trained on, validation too")]
    untrained_profiles: list[str]
    ci_level: Share | None
    ci_method: str | None
    n_episodes: Count
    n_windows: Count
    why: Why


class HostStudy(TypedDict):
    """Every host trained on against every host tested on."""

    hosts: list[str]
    n_folds: Count
    cells: list[HostCell]


# ``from`` is a keyword, which the class syntax does not take as a name.
SlotEnds = TypedDict("SlotEnds", {"from": str, "to": str})


class Slot(SlotEnds, Score):
    """Macro F1 of one slot of time."""


class AreaUnderTime(TypedDict):
    """Area under the macro F1 over slots of time, with its interval."""

    aut: Share | None
    ci_low: Share | None
    ci_high: Share | None
    ci_level: NotRequired[Share]
    ci_method: NotRequired[str | None]
    n_episodes: NotRequired[Count]
    n_windows: NotRequired[Count]
    why: Why


class TimeStudy(AreaUnderTime):
    """Decay over the time since training."""

    cut: Annotated[str | None, Meta(description="when the last training episode was received")]
    slots: list[Slot]
    n_train_episodes: NotRequired[Count]
    n_val_episodes: NotRequired[Count]


class DriftRow(ChannelDrift):
    """Population stability index of one channel of one group of episodes."""

    view: str
    group: str
    n_episodes: Count


class DriftSummary(TypedDict):
    """Channels of one group and view that moved."""

    view: str
    group: str
    n_episodes: Count
    n_channels: Count
    n_flagged: Count
    n_flagged_beyond_chance: Count


class DriftStudy(TypedDict):
    """Drift of each channel of the test side against train."""

    threshold: Amount
    smoothing: str
    views: dict[str, str]
    n_train_episodes: Count
    summary: list[DriftSummary]
    rows: list[DriftRow]


class StudyModel(TypedDict):
    """The sections of one model; null where one was not run."""

    settings: Annotated[str, Meta(description="digest of version, settings and calibration")]
    profiles: ProfileStudy | None
    hosts: HostStudy | None
    time: TimeStudy | None


StudyInputs = Annotated[
    dict[str, str | int], Meta(description="digests and versions that the study is made of")
]


class Study(TypedDict):
    """``study.json``."""

    format: Literal["study"]
    split: str
    seed: int
    of: StudyInputs
    alarm_rule: str
    left_out: Annotated[list[str], Meta(description="copies of other episodes")]
    models: dict[str, StudyModel]
    drift: DriftStudy | None
    host_out: HostOutStudy | None


class ModelSettings(TypedDict):
    """Which settings a model of a study has."""

    settings: str


class StudyInputsOnly(TypedDict):
    """What a stored study of any version says it was made of."""

    format: Literal["study"]
    of: StudyInputs
    models: dict[str, ModelSettings]


class CarriedStudy(TypedDict):
    """A study inside a leaderboard; a stale one has no number, and ``why`` says so."""

    format: Literal["study"]
    split: str
    status: Literal["current", "stale"]
    why: Why
    seed: NotRequired[int]
    of: NotRequired[StudyInputs]
    alarm_rule: NotRequired[str]
    left_out: NotRequired[list[str]]
    models: NotRequired[dict[str, StudyModel]]
    drift: NotRequired[DriftStudy | None]
    host_out: NotRequired[HostOutStudy | None]
