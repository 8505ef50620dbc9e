"""Forms that reports and leaderboards share."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
Digest = Annotated[str, Meta(description="SHA-256, hexadecimal")]
Why = Annotated[str | None, Meta(description="why a number here is null")]
Processor = Annotated[
    dict[str, str],
    Meta(description="what the numbers were computed on: name, model, instructions, caches"),
]
Kind = Literal["model", "probe", "ensemble"]
Plain = str | int | float | bool | None
ProfilesByHost = Annotated[
    dict[str, list[str]], Meta(description="profiles a test host never ran, by host")
]


class ScoreEnds(TypedDict):
    """Macro F1 and the ends of its interval."""

    macro_f1: Share | None
    ci_low: Share | None
    ci_high: Share | None


class Score(ScoreEnds):
    """Macro F1 with a confidence interval that resamples episodes; null where undefined."""

    ci_level: Share
    ci_method: str
    n_episodes: Count
    n_windows: Count


class Host(TypedDict):
    """The test device with the least macro F1."""

    host_id: str
    macro_f1: Share
    ci_low: NotRequired[Share | None]
    ci_high: NotRequired[Share | None]
    ci_method: NotRequired[str | None]
    n_episodes: NotRequired[Count]
    n_windows: NotRequired[Count]


class HostScores(TypedDict):
    """Accuracy of predicting the host, and mean recall over hosts, with intervals by episode."""

    accuracy: Share | None
    accuracy_low: Share | None
    accuracy_high: Share | None
    balanced_accuracy: Share | None
    balanced_low: Share | None
    balanced_high: Share | None
    ci_method: str


class Ends(TypedDict):
    """Ends of a confidence interval, as every score and difference has them."""

    ci_low: float | None
    ci_high: float | None


class DifferenceEnds(Ends):
    """A difference and the ends of its interval."""

    difference: float | None


class Difference(DifferenceEnds):
    """First minus second of two scores on identical windows, with its paired interval."""

    n_episodes: Count


class Tested(Difference):
    """A difference with its p-value."""

    p_value: Annotated[Share | None, Meta(description="two-sided, by swapping episodes")]


class Pair(Tested):
    """A tested difference, ``a`` minus ``b``."""

    a: str
    b: str
    family: Annotated[str, Meta(description="comparisons corrected together")]
    p_holm: Annotated[Share | None, Meta(description="corrected by Holm over the family")]


class Split(TypedDict):
    """What of a split every report repeats."""

    split: Annotated[str, Meta(description="recipe: host, sample or time")]
    split_digest: str
    selected_on: Annotated[str, Meta(description="what validation shares with train")]
    untested_profiles: ProfilesByHost
    shared: Annotated[
        dict[str, list[str]], Meta(description="hosts, samples and profiles of train and test")
    ]
    counts: Annotated[dict[str, Count], Meta(description="episodes by side")]
    excluded: Annotated[dict[str, Count], Meta(description="episodes by why they are excluded")]


class SeedScore(TypedDict):
    """Macro F1 of one training, and its seed."""

    macro_f1: Share | None
    seed: int


class Seeds(Ends):
    """One model trained with several seeds, and the t interval over them."""

    n_seeds: Count
    seeds: list[int]
    macro_f1: list[Share | None]
    mean: Share | None
    sd: float | None
    ci_level: Share
    ci_method: str


class Found(TypedDict):
    """A share with its 95 % interval."""

    share: Share | None
    low: NotRequired[Share | None]
    high: NotRequired[Share | None]
    why: NotRequired[Why]
