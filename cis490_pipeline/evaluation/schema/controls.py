"""Form of what recorded controls show of the recorder itself."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.parts import Amount, Count, HostScores, Share, Why


class StepRow(TypedDict):
    """Steps of one channel at one kind of would-be transition of the controls."""

    channel: str
    transition: Annotated[
        str, Meta(description="phase that would begin; `onset`: any after clean; `any`")
    ]
    unit: str
    n_steps: Count
    n_controls: Count
    step: Annotated[float | None, Meta(description="mean at shams, large steps squashed by asinh")]
    usual: Annotated[float | None, Meta(description="the same at other times of the same runs")]
    size: Annotated[Amount | None, Meta(description="mean size of the steps, either direction")]
    usual_size: Amount | None
    infected: Annotated[float | None, Meta(description="mean step at labels of infected runs")]
    n_infected: Count
    effect: Annotated[
        float | None, Meta(description="mean step less the usual, in the run's own deviations")
    ]
    p_step: Annotated[Share | None, Meta(description="two-sided, by permutation within runs")]
    p_size: Annotated[Share | None, Meta(description="one-sided: larger than elsewhere")]
    p_holm: Annotated[
        Share | None, Meta(description="twice the smaller one, by Holm over all rows")
    ]


class Quarantined(TypedDict):
    """A channel that shows the recorder, with the reason."""

    channel: str
    transitions: list[str]
    reason: str
    median: Annotated[float | None, Meta(description="median step at the clearest transition")]
    n_larger: Annotated[Count, Meta(description="controls with larger steps there than elsewhere")]
    n_look_alikes: Annotated[Count, Meta(description="begins of look-alikes, away from shams")]
    look_alike: Annotated[float | None, Meta(description="mean step there")]
    look_alike_size: Amount | None
    line: Annotated[str, Meta(description="for the table `quarantine` of `cis490.toml`")]


class ControlSteps(TypedDict):
    """Which channels step where sham-armed controls would have been infected."""

    n_controls: Count
    n_controls_needed: Count
    n_hosts_needed: Count
    n_steps: Count
    n_left_out: Annotated[Count, Meta(description="shams beside a look-alike's begin or end")]
    n_infected: Annotated[Count, Meta(description="infected runs to compare with")]
    controls_by_host: dict[str, int]
    level: Share
    seed: int
    n_permutations: Count
    quarantined: list[Quarantined]
    rows: list[StepRow]
    why: Why


class BlockPrediction(TypedDict):
    """How well the block of the recording is predicted from clean windows."""

    features: str
    n_windows: Count
    episodes_by_block: dict[str, int]
    blocks_left_out: Annotated[list[str], Meta(description="with too few episodes")]
    seed: int
    chance_balanced: Annotated[Share | None, Meta(description="1 / blocks")]
    host_balanced: Annotated[
        Share | None, Meta(description="mean recall of the best guess that knows the host alone")
    ]
    scores: HostScores | None
    why: Why


class FalseAround(TypedDict):
    """Windows of controls predicted other than clean, before and after shams."""

    transition: Annotated[str, Meta(description="phase that would begin; `any`: all")]
    n_shams: Annotated[Count, Meta(description="shams with windows on both sides")]
    before: Annotated[Share | None, Meta(description="share false of the 10 s before")]
    after: Annotated[Share | None, Meta(description="share false of the 10 s after")]


class ControlScore(TypedDict):
    """A model's predictions of controls against the phases that would have been."""

    n_controls: Count
    n_windows: Count
    n_shams: Count
    false_share: Annotated[
        Share | None, Meta(description="windows predicted other than clean, which all are")
    ]
    macro_f1: Annotated[Share | None, Meta(description="against the would-be phases")]
    macro_f1_chance: Annotated[Share | None, Meta(description="mean over permutations")]
    p_macro_f1: Share | None
    accuracy: Share | None
    accuracy_chance: Share | None
    p_accuracy: Share | None
    around: list[FalseAround]
    p_around: Annotated[
        Share | None,
        Meta(description="two-sided, after against before, swapping them in whole controls"),
    ]
    seed: int
    n_permutations: Count
    why: Why


class ModelControlScore(ControlScore):
    """The score of one model."""

    model: str


class ControlsReport(TypedDict):
    """``cis490 controls``: what of the recorder can be seen in what it recorded."""

    format: Literal["controls"]
    store: str
    hosts: list[str]
    n_episodes: Count
    unreadable: Annotated[dict[str, str], Meta(description="episodes left out, and why")]
    steps: ControlSteps
    blocks: list[BlockPrediction]
    recipe: str
    models: Annotated[
        list[ModelControlScore], Meta(description="of the recipe that have predictions")
    ]


class Controls(TypedDict):
    """What the recorder shows in a recipe's episodes, beside the leaderboard."""

    hosts: Annotated[list[str], Meta(description="of train and val: what steps and blocks are of")]
    n_episodes: Annotated[Count, Meta(description="of train and val, with notes of a recorder")]
    n_episodes_read: Annotated[Count, Meta(description="of all sides, with such notes or without")]
    n_episodes_in_all: Count
    unreadable: Annotated[dict[str, str], Meta(description="episodes left out, and why")]
    steps: Annotated[ControlSteps | None, Meta(description="rows: of each channel the clearest")]
    blocks: list[BlockPrediction]
    models: Annotated[list[ModelControlScore], Meta(description="on controls of val and test")]
    why: Why
