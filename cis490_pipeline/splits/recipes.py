"""The three split recipes: held-out host, held-out sample and held-out time.

Each takes usable episodes (columns of ``EPISODE_SCHEMA``), keeps the sides, cuts and exclusions of
a stored split and assigns only new episodes, so making and extending a split are the same code, and
a stored episode never changes side.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.errors import SplitError
from cis490_pipeline.splits.placement import (
    Decision,
    EpisodeRow,
    assignment_frame,
    episode_rows,
    instant,
    placed_at,
    rank,
    require_fraction,
    rounded,
    stored_decisions,
)
from cis490_pipeline.splits.split import TOO_FEW, Split, described

_MIN_TRAIN_HOSTS_FOR_A_VAL_HOST: Final = 3
_MIN_SAMPLES: Final = 3

SPLIT_VERSION: Final = "1"
"""Raised when the recipes would assign a new episode to another side."""


def held_out_host(
    episodes: pl.DataFrame,
    train_hosts: Sequence[str] = ("elliott-thinkpad",),
    *,
    val_hosts: Sequence[str] = (),
    seed: int = 0,
    val_fraction: float = 0.2,
    version: int = 1,
    stored: Split | None = None,
) -> Split:
    """Test on every host that is neither for training nor for validation.

    Validation is the hosts in ``val_hosts``; where none is named, one whole training host if there
    are at least three, otherwise the given share of the training hosts' episodes of each profile.
    ``selected_on`` records which.

    Raises
    ------
    SplitError
        If a named host has no episode or two sides, no host is left to test, or a side is empty.
    """
    rows = episode_rows(episodes)
    require_fraction("val_fraction", val_fraction)
    hosts = {row.host_id for row in rows}
    trained, validated = sorted(set(train_hosts)), sorted(set(val_hosts))
    _require_hosts(hosts, trained, validated)
    val_host = None if validated else _stored_or_chosen_val_host(rows, trained, seed, stored)
    on_val = validated or ([val_host] if val_host else [])
    decided = stored_decisions(rows, stored)
    fresh = [row for row in rows if row.episode_id not in decided and row.baseline_clean]
    decided |= {
        row.episode_id: placed_at(row, Side.TEST)
        for row in fresh
        if row.host_id not in (*trained, *on_val)
    }
    inside = [row for row in fresh if row.host_id in (*trained, *on_val)]
    if not on_val:
        decided |= _share_within_profiles(rows, inside, decided, val_fraction, seed)
    else:
        decided |= {
            row.episode_id: placed_at(row, Side.VAL if row.host_id in on_val else Side.TRAIN)
            for row in inside
        }
    split = described(
        Recipe.HOST,
        episodes,
        assignment_frame(rows, decided),
        seed=seed,
        version=version,
        parameters={
            "train_hosts": trained,
            "val_host": val_host,
            "val_fraction": val_fraction,
            # Only where it is given: splits stored before it existed keep their digest.
            **({"val_hosts": validated} if validated else {}),
        },
        selected_on=_selected_on(on_val),
    )
    return _require_every_side(split)


def held_out_sample(
    episodes: pl.DataFrame,
    *,
    seed: int = 0,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    version: int = 1,
    stored: Split | None = None,
) -> Split:
    """Test on samples that do not occur in training, some of every profile.

    A profile with fewer than three samples cannot be on all three sides and is excluded by name.
    Each clean-only run counts as its own sample.

    Parameters
    ----------
    test_fraction, val_fraction : shares of each profile's samples, at least one sample each.

    Raises
    ------
    SplitError
        If a profile that is not excluded is missing from a side.
    """
    rows = episode_rows(episodes)
    for name, fraction in (("test_fraction", test_fraction), ("val_fraction", val_fraction)):
        require_fraction(name, fraction)
    decided = stored_decisions(rows, stored)
    side_of = {
        row.group: decided[row.episode_id][0]
        for row in rows
        if row.episode_id in decided and decided[row.episode_id][0] is not Side.EXCLUDED
    }
    too_few = set(stored.parameters["excluded_profiles"]) if stored is not None else set()
    for stratum, groups in sorted(_groups_by_stratum(rows).items()):
        if stratum in too_few or _is_too_small(groups, side_of):
            too_few.add(stratum)
        else:
            _fill(groups, side_of, _wanted(len(groups), test_fraction, val_fraction), seed)
    for row in rows:
        if row.episode_id in decided or not row.baseline_clean:
            continue
        home = None if row.stratum in too_few else side_of.get(row.group)
        decided[row.episode_id] = (
            (Side.EXCLUDED, f"{TOO_FEW}: {row.stratum}") if home is None else placed_at(row, home)
        )
    split = described(
        Recipe.SAMPLE,
        episodes,
        assignment_frame(rows, decided),
        seed=seed,
        version=version,
        parameters={
            "test_fraction": test_fraction,
            "val_fraction": val_fraction,
            "excluded_profiles": sorted(too_few),
        },
        selected_on="held-out samples",
    )
    _require_stratification(split, rows)
    return _require_every_side(split)


def held_out_time(
    episodes: pl.DataFrame,
    *,
    seed: int = 0,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    version: int = 1,
    stored: Split | None = None,
) -> Split:
    """Test on the episodes received last, validate on those just before them.

    The two cuts are instants, computed once and stored with the split, so that an episode
    received later joins the test side and moves no other.

    Parameters
    ----------
    test_fraction : share of the episodes after the test cut.
    val_fraction : share of the earlier episodes used for validation.

    Raises
    ------
    SplitError
        If all episodes were received at the same instant, so that no cut exists.
    """
    rows = episode_rows(episodes)
    for name, fraction in (("test_fraction", test_fraction), ("val_fraction", val_fraction)):
        require_fraction(name, fraction)
    eligible = [row for row in rows if row.baseline_clean]
    if stored is not None:
        val_from, test_from = stored.parameters["val_from"], stored.parameters["test_from"]
    else:
        test_from = _cut(eligible, test_fraction, "test")
        before = [row for row in eligible if row.received < instant(test_from)]
        val_from = _cut(before, val_fraction, "val")
    val_instant, test_instant = instant(val_from), instant(test_from)
    decided = stored_decisions(rows, stored)
    for row in eligible:
        side = Side.TRAIN if row.received < val_instant else Side.VAL
        side = Side.TEST if row.received >= test_instant else side
        decided.setdefault(row.episode_id, placed_at(row, side))
    split = described(
        Recipe.TIME,
        episodes,
        assignment_frame(rows, decided),
        seed=seed,
        version=version,
        parameters={
            "test_fraction": test_fraction,
            "val_fraction": val_fraction,
            "val_from": val_from,
            "test_from": test_from,
        },
        selected_on="last part of the training period",
    )
    return _require_every_side(split)


def _require_hosts(hosts: set[str], trained: Sequence[str], validated: Sequence[str]) -> None:
    """Raise unless every named host has episodes, each has one side, and one is left to test on."""
    has = f"hosts with episodes: {sorted(hosts)}"
    for what, named in (("training", trained), ("validation", validated)):
        if missing := [host for host in named if host not in hosts]:
            raise SplitError(
                f"held_out_host: no usable episode of the {what} hosts {missing}; {has}"
            )
    if both := sorted({*trained} & {*validated}):
        raise SplitError(f"held_out_host: {both} are in train_hosts and in val_hosts")
    if not hosts - {*trained, *validated}:
        raise SplitError(
            f"held_out_host: every host ({sorted(hosts)}) has a side, none is left to test"
        )


def _selected_on(val_hosts: Sequence[str]) -> str:
    several = "s" if len(val_hosts) > 1 else ""
    return f"held-out host{several} {', '.join(val_hosts)}" if val_hosts else "same host"


def _stored_or_chosen_val_host(
    rows: Iterable[EpisodeRow], trained: Sequence[str], seed: int, stored: Split | None
) -> str | None:
    if stored is not None:
        return stored.parameters["val_host"]
    if len(trained) < _MIN_TRAIN_HOSTS_FOR_A_VAL_HOST:
        return None
    ran: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.host_id in trained and row.scorable and row.baseline_clean:
            ran[row.host_id].add(row.stratum)
    # The host with the most profiles: selection cannot account for a profile it never sees.
    return max(trained, key=lambda host: (len(ran[host]), rank(seed, host)))


def _share_within_profiles(
    rows: Iterable[EpisodeRow],
    fresh: Sequence[EpisodeRow],
    decided: Mapping[str, Decision],
    val_fraction: float,
    seed: int,
) -> dict[str, Decision]:
    n_stored: dict[tuple[str, Side], int] = defaultdict(int)
    for row in rows:
        if row.episode_id in decided:
            n_stored[row.stratum, decided[row.episode_id][0]] += 1
    by_stratum: dict[str, list[EpisodeRow]] = defaultdict(list)
    for row in fresh:
        by_stratum[row.stratum].append(row)
    placed: dict[str, Decision] = {}
    for stratum, members in by_stratum.items():
        n_val = n_stored[stratum, Side.VAL]
        n_all = n_val + n_stored[stratum, Side.TRAIN] + len(members)
        wanted = min(max(1, rounded(val_fraction * n_all)), n_all - 1) - n_val
        candidates = sorted(
            (row for row in members if row.scorable), key=lambda row: rank(seed, row.episode_id)
        )
        chosen = {row.episode_id for row in candidates[: max(0, wanted)]}
        for row in members:
            placed[row.episode_id] = placed_at(
                row, Side.VAL if row.episode_id in chosen else Side.TRAIN
            )
    return placed


def _groups_by_stratum(rows: Iterable[EpisodeRow]) -> dict[str, dict[str, bool]]:
    """Group samples by profile, with whether any of their episodes is scorable."""
    stratum_of: dict[str, str] = {}
    scorable: dict[str, bool] = {}
    for row in rows:
        if row.baseline_clean:
            # A sample recorded under two profiles is one group and stays on one side.
            stratum_of[row.group] = min(row.stratum, stratum_of.get(row.group, row.stratum))
            scorable[row.group] = row.scorable or scorable.get(row.group, False)
    by_stratum: dict[str, dict[str, bool]] = defaultdict(dict)
    for group, stratum in stratum_of.items():
        by_stratum[stratum][group] = scorable[group]
    return by_stratum


def _is_too_small(groups: Mapping[str, bool], side_of: Mapping[str, Side]) -> bool:
    if any(group in side_of for group in groups):
        return False
    # Val and test are scored, so two samples must be scorable.
    return len(groups) < _MIN_SAMPLES or sum(groups.values()) < _MIN_SAMPLES - 1


def _wanted(n_groups: int, test_fraction: float, val_fraction: float) -> dict[Side, int]:
    wanted = {
        Side.TEST: max(1, rounded(test_fraction * n_groups)),
        Side.VAL: max(1, rounded(val_fraction * n_groups)),
    }
    while sum(wanted.values()) >= n_groups:
        wanted[max(wanted, key=lambda side: wanted[side])] -= 1
    return wanted


def _fill(
    groups: Mapping[str, bool], side_of: dict[str, Side], wanted: Mapping[Side, int], seed: int
) -> None:
    """Assign groups without a side to the side furthest below its share."""
    lacking = {
        side: n - sum(side_of.get(group) is side for group in groups) for side, n in wanted.items()
    }
    for group in sorted(groups, key=lambda group: (not groups[group], rank(seed, group))):
        if group in side_of:
            continue
        side = max(lacking, key=lambda side: lacking[side])
        if lacking[side] <= 0 or not groups[group]:
            side_of[group] = Side.TRAIN
        else:
            side_of[group] = side
            lacking[side] -= 1


def _cut(rows: Sequence[EpisodeRow], fraction: float, side: str) -> str:
    ordered = sorted(rows, key=lambda row: (row.received, row.episode_id))
    if not ordered or ordered[0].received == ordered[-1].received:
        raise SplitError(
            f"held_out_time: no cut makes a {side} side of {len(ordered)} episodes "
            f"that were received at one instant"
        )
    place = len(ordered) - max(1, rounded(fraction * len(ordered)))
    # Equal instants stay together, on the later side; if that leaves nothing before, cut after.
    cut = ordered[place].received
    if cut == ordered[0].received:
        cut = min(row.received for row in ordered if row.received > cut)
    return next(row.received_at_wall for row in ordered if row.received == cut)


def _require_stratification(split: Split, rows: Iterable[EpisodeRow]) -> None:
    side_of = dict(split.assignment.select("episode_id", "side").iter_rows())
    present: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        present[row.stratum].add(side_of[row.episode_id])
    faults = [
        f"{stratum} is missing on {side}"
        for stratum, sides in sorted(present.items())
        for side in (Side.TRAIN, Side.VAL, Side.TEST)
        if sides - {str(Side.EXCLUDED)} and str(side) not in sides
    ]
    if faults:
        raise SplitError(
            f"held_out_sample promises every profile on every side, but {'; '.join(faults)}; "
            f"raise the split's version to assign the samples again"
        )


def _require_every_side(split: Split) -> Split:
    empty = [str(side) for side in Side if side is not Side.EXCLUDED and not split.counts[side]]
    if empty:
        raise SplitError(
            f"the {split.recipe} split leaves no episode for {', '.join(empty)} "
            f"(episodes by side: {split.counts}; excluded: {split.excluded})"
        )
    return split


_RULES: Final[Mapping[Recipe, Callable[..., Split]]] = {
    Recipe.HOST: held_out_host,
    Recipe.SAMPLE: held_out_sample,
    Recipe.TIME: held_out_time,
}


def make_split(recipe: Recipe, episodes: pl.DataFrame, **parameters: Any) -> Split:
    """Make or extend the split of a recipe.

    Parameters
    ----------
    episodes : usable episodes, columns of ``EPISODE_SCHEMA``.
    parameters : those of the recipe's own function.

    Raises
    ------
    SplitError
        If the recipe has no such parameter, or as its function raises.
    """
    rule = _RULES[recipe]
    known = sorted({name for name in rule.__annotations__ if name not in ("episodes", "return")})
    if unknown := sorted(set(parameters) - set(known)):
        raise SplitError(f"the {recipe} recipe has no parameters {unknown}; it has {known}")
    return rule(episodes, **parameters)
