"""Form of a study's section on hosts left out in turn."""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.parts import Count, Pair, Score, Seeds, Why
from cis490_pipeline.evaluation.schema.report import HostScore, PhaseScores


class HostOutFold(TypedDict):
    """Hosts of one training: one is scored, one whole other host validates, the rest train."""

    scored: str
    val: str
    train: list[str]
    n_episodes: Annotated[Count, Meta(description="scored")]


class HostOutRow(Score):
    """One model over all hosts left out, or the mean of two models' probabilities."""

    model: str
    kind: Literal["model", "ensemble"]
    variant: str
    parts: Annotated[list[str], Meta(description="models of an ensemble")]
    seeds: Seeds
    over_hosts: Annotated[
        Score | None, Meta(description="the same score, its interval over hosts and episodes")
    ]
    per_class: list[PhaseScores]
    per_host: list[HostScore]
    why: Why


class HostOutStudy(TypedDict):
    """Leave-one-host-out: every host predicted by a model that saw neither it nor its episodes."""

    folds: list[HostOutFold]
    opened_test: Annotated[
        dict[str, Count],
        Meta(description="scored episodes of the recipe's test side, by host"),
    ]
    rows: list[HostOutRow]
    pairs: list[Pair]
    why: Why
