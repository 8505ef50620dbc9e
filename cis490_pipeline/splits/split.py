"""Split value: assignment of episodes to sides, overlap of train and test, untested profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.domain.split_summary import SplitParameters, SplitSummary
from cis490_pipeline.errors import SplitError
from cis490_pipeline.storage.files import digest

CLEAN_ONLY: Final = "clean-only"
"""Stratum of runs without a sample, which have no profile."""

EPISODE_SCHEMA: Final = pl.Schema(
    {
        "episode_id": pl.String,
        "host_id": pl.String,
        "profile": pl.String,
        "sample_name": pl.String,
        "received_at_wall": pl.String,
        "scorable": pl.Boolean,
        "baseline_clean": pl.Boolean,
    }
)
"""Columns of usable episodes that recipes read."""

ASSIGNMENT_SCHEMA: Final = pl.Schema(
    {"episode_id": pl.String, "host_id": pl.String, "side": pl.String, "why": pl.String}
)

NO_CLEAN_BASELINE: Final = "no_clean_baseline"
UNSCORABLE: Final = "unscorable: label_unjustified or clock_skew"
TOO_FEW: Final = "too few samples"


class SplitRule(TypedDict, total=False):
    """Parameters a caller chooses; the recipe derives the others (cuts, hosts)."""

    seed: int
    version: int
    train_hosts: Sequence[str]
    val_hosts: Sequence[str]
    val_fraction: float
    test_fraction: float


class Assigned(TypedDict):
    """One episode and its side; ``why`` says what excluded it."""

    episode_id: str
    host_id: str
    side: str
    why: str | None


class SavedSplit(SplitSummary):
    """A split as its file holds it."""

    assignment: list[Assigned]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Assignment of episodes to the sides of one recipe.

    Attributes
    ----------
    assignment : one row per episode, sorted by id: episode_id, host_id, side, why (null unless
        the side is ``excluded``).
    parameters : of the recipe, including derived cuts and hosts; later episodes are assigned by
        them.
    untested_profiles : profiles without an episode on the test side, by test host.
    selected_on : description of the validation side, as printed in reports.
    shared : hosts, samples and profiles that occur in both train and test.
    """

    recipe: Recipe
    seed: int
    assignment: pl.DataFrame
    version: int = 1
    parameters: SplitParameters = field(default_factory=SplitParameters)
    untested_profiles: Mapping[str, list[str]] = field(default_factory=dict)
    selected_on: str = ""
    shared: Mapping[str, list[str]] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Digest of the assignment; predictions and checkpoints refer to it."""
        rows = self.assignment.select("episode_id", "host_id", "side").rows()
        return digest(
            {"recipe": self.recipe, "version": self.version, "sides": [list(row) for row in rows]}
        )

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of episodes on each side."""
        counts = dict(self.assignment.group_by("side").len().iter_rows())
        return {str(side): int(counts.get(str(side), 0)) for side in Side}

    @cached_property
    def excluded(self) -> dict[str, int]:
        """Number of excluded episodes by reason."""
        left_out = self.assignment.filter(pl.col("side") == Side.EXCLUDED)
        return dict(sorted(left_out.group_by("why").len().iter_rows()))

    def masks(self, episode_ids: npt.ArrayLike) -> dict[Side, npt.NDArray[np.bool_]]:
        """Boolean masks of the sides over (n,) ids of episodes (or of windows' episodes).

        Exactly one of the masks is true at each position. SplitError if an id is not in the split.
        """
        ids = np.asarray(episode_ids, dtype=np.str_)
        known = self.assignment["episode_id"].to_numpy().astype(np.str_)
        sides = self.assignment["side"].to_numpy().astype(np.str_)
        unknown = np.setdiff1d(ids, known)
        if unknown.size:
            raise SplitError(
                f"split {self.recipe} v{self.version} does not hold {unknown.size} of the "
                f"episodes, first {unknown[0]}; make the split again with them"
            )
        if not ids.size:
            return {side: np.zeros(0, dtype=np.bool_) for side in Side}
        # The assignment is sorted by id, so one vectorised search places all windows.
        place = np.searchsorted(known, ids)
        return {side: np.asarray(sides[place] == str(side), dtype=np.bool_) for side in Side}

    def restricted(self, episodes: pl.DataFrame) -> "Split":
        """Return the same split restricted to the given episodes."""
        kept = self.assignment.filter(pl.col("episode_id").is_in(episodes["episode_id"].implode()))
        return described(
            self.recipe,
            episodes,
            kept,
            seed=self.seed,
            version=self.version,
            parameters=self.parameters,
            selected_on=self.selected_on,
        )

    def summary(self) -> SplitSummary:
        """All but the assignment, as JSON values: what a report prints of its split."""
        return {
            "recipe": str(self.recipe),
            "version": self.version,
            "seed": self.seed,
            "parameters": self.parameters,
            "selected_on": self.selected_on,
            "untested_profiles": dict(self.untested_profiles),
            "shared": dict(self.shared),
            "counts": self.counts,
            "excluded": self.excluded,
            "digest": self.digest,
        }

    def to_dict(self) -> SavedSplit:
        """Everything, as JSON values."""
        assigned: list[Any] = self.assignment.rows(named=True)
        return {**self.summary(), "assignment": assigned}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Split":
        """Restore a split from ``to_dict``.

        SplitError if a part is missing, or the assignment does not match its digest.
        """
        try:
            split = cls(
                recipe=Recipe(saved["recipe"]),
                version=saved["version"],
                seed=saved["seed"],
                parameters=saved["parameters"],
                selected_on=saved["selected_on"],
                untested_profiles=saved["untested_profiles"],
                shared=saved["shared"],
                assignment=pl.DataFrame(saved["assignment"], schema=ASSIGNMENT_SCHEMA),
            )
            expected = saved["digest"]
        except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as fault:
            raise SplitError(f"the stored split is incomplete or malformed: {fault!r}") from fault
        if split.digest != expected:
            raise SplitError(
                f"the stored {split.recipe} split has the digest {split.digest:.12}, but says "
                f"{expected:.12}: its sides were edited; restore the file or raise the version"
            )
        return split


def described(
    recipe: Recipe,
    episodes: pl.DataFrame,
    assignment: pl.DataFrame,
    *,
    seed: int,
    version: int,
    parameters: SplitParameters,
    selected_on: str,
) -> Split:
    """Build a split from an assignment, adding shared groups and untested profiles."""
    placed = episodes.join(assignment.select("episode_id", "side"), on="episode_id")
    train = placed.filter(pl.col("side") == Side.TRAIN)
    test = placed.filter(pl.col("side") == Side.TEST)
    columns = {"hosts": "host_id", "samples": "sample_name", "profiles": "profile"}
    return Split(
        recipe=recipe,
        seed=seed,
        version=version,
        parameters=parameters,
        selected_on=selected_on,
        assignment=assignment.sort("episode_id"),
        untested_profiles=_untested(test, set(episodes["profile"].drop_nulls())),
        shared={
            name: sorted(set(train[column].drop_nulls()) & set(test[column].drop_nulls()))
            for name, column in columns.items()
        },
    )


def _untested(test: pl.DataFrame, profiles: set[str]) -> dict[str, list[str]]:
    # By host: a flat list would omit a profile as soon as any one host ran it.
    ran = {host: set(rows["profile"].drop_nulls()) for (host,), rows in test.group_by("host_id")}
    return {str(host): sorted(profiles - ran[host]) for host in sorted(ran) if profiles - ran[host]}
