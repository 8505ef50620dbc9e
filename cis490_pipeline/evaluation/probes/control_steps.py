"""Steps at the label in controls: which channels show the recorder, and not the malware.

In a sham-armed control the recorder sends the requests of an infected run, and the guest answers
by processes that do nothing. A channel that steps at those times, compared with other times of the
same run, steps because of the recorder; in infected runs it steps at the label as well, and a model
that reads it is right for the wrong reason. Such label leakage is one of the pitfalls of Arp et al.
("Dos and Don'ts of Machine Learning in Computer Security", USENIX Security 2022).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CHANNELS, PHASES, Phase
from cis490_pipeline.domain.arrays import Bools, Floats
from cis490_pipeline.evaluation.schema.controls import ControlSteps, Quarantined, StepRow
from cis490_pipeline.evaluation.uncertainty.intervals import finite_or_none
from cis490_pipeline.evaluation.uncertainty.paired import holm
from cis490_pipeline.features.steps import RESOLUTIONS, unit_of_steps

MIN_CONTROLS: Final = 5
MIN_HOSTS: Final = 2
"""With fewer controls or hosts, the habit of one run or machine decides: nothing is quarantined."""
MIN_STEPS: Final = 5
"""Steps of a channel at a kind of transition, of three controls or more; fewer are not tested."""
_MIN_RUNS: Final = 3
N_PERMUTATIONS: Final = 20_000
"""The least p, by Holm over all channels and transitions, is then .03."""
LEVEL: Final = 0.05

ONSET, ANY = "onset", "any"
TRANSITIONS: Final = (*map(str, PHASES), ONSET, ANY)
"""Would-be phases; ``onset`` is any that follows would-be ``clean``, where the guest starts the
sham's process rather than replacing one."""
_SAME = 1e-9
_N_TESTS_PER_ROW: Final = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelSteps:
    """Steps of all channels at the transitions of one run, in linear units; NaN is unknown.

    Attributes
    ----------
    phases : (n,) phase that each transition begins; in a control, that a sham would.
    before : (n,) phase that it ends.
    steps : (n, 46) steps there.
    """

    episode_id: str
    host_id: str
    phases: tuple[str, ...]
    before: tuple[str, ...]
    steps: Floats

    def of(self, transition: str) -> Bools:
        """(n,) which shams are of a kind of transition."""
        phases, before = np.array(self.phases), np.array(self.before)
        if transition == ANY:
            return np.ones(phases.size, dtype=np.bool_)
        if transition == ONSET:
            return np.asarray((before == Phase.CLEAN) & (phases != Phase.CLEAN), dtype=np.bool_)
        return np.asarray(phases == transition, dtype=np.bool_)


@dataclass(frozen=True, eq=False, kw_only=True)
class ControlRun(LabelSteps):
    """A sham-armed control, with its steps elsewhere.

    Attributes
    ----------
    elsewhere : (m, 46) steps at other times of the run.
    look_alikes : (k, 46) steps at begins of look-alikes; they test nothing.
    n_left_out : shams of the run that are not among its transitions.
    """

    elsewhere: Floats
    look_alikes: Floats = field(default_factory=lambda: np.zeros((0, len(CHANNELS))))
    n_left_out: int = 0


def control_steps(
    controls: Sequence[ControlRun],
    infected: Sequence[LabelSteps] = (),
    *,
    seed: int,
    n_permutations: int = N_PERMUTATIONS,
    level: float = LEVEL,
) -> ControlSteps:
    """Test for every channel and kind of transition whether it steps at the shams of controls.

    Parameters
    ----------
    controls : runs that the recorder left clean.
    infected : runs whose steps at the same transitions are shown beside, and test nothing.
    n_permutations : B; p-values are (1 + as far or farther) / (B + 1).

    Returns
    -------
    A row for each channel and transition, and the quarantined channels: those with a p-value by
    Holm of at most ``level`` at some transition. With too few controls, none, and ``why``.

    Notes
    -----
    A permutation draws as many times as there are shams from the shams and the other times of the
    same run together; both the mean and the mean size of the steps are compared, after asinh in
    units of the channel's resolution, centred and scaled within the run. It is exact where sham
    times are as random as the others, which the recorder's schedule makes them.
    """
    rng = np.random.default_rng(seed)
    rows = [
        row
        for name in TRANSITIONS
        for row in _rows_of(controls, infected, name, rng, n_permutations)
    ]
    combined = [_combined(row) for row in rows]
    for row, p in zip(rows, holm(combined), strict=True):
        row["p_holm"] = finite_or_none(p)
    by_host = Counter(run.host_id for run in controls)
    why = None
    if len(controls) < MIN_CONTROLS or len(by_host) < MIN_HOSTS:
        why = (
            f"controls: {len(controls)} of {len(by_host)} hosts, at least {MIN_CONTROLS} of "
            f"{MIN_HOSTS} are needed"
        )
    return {
        "n_controls": len(controls),
        "n_controls_needed": MIN_CONTROLS,
        "n_hosts_needed": MIN_HOSTS,
        "n_steps": sum(len(run.phases) for run in controls),
        "n_left_out": sum(run.n_left_out for run in controls),
        "n_infected": len(infected),
        "controls_by_host": dict(sorted(by_host.items())),
        "level": level,
        "seed": seed,
        "n_permutations": n_permutations,
        "quarantined": [] if why else _quarantined(rows, controls, level),
        "rows": rows,
        "why": why,
    }


@dataclass
class _Sums:
    """Sums over runs: of what was seen, (46,), and of the permutations, (B, 46)."""

    step: Floats
    size: Floats
    permuted_step: Floats
    permuted_size: Floats
    n: npt.NDArray[np.int64]
    runs: npt.NDArray[np.int64]


def _rows_of(
    controls: Sequence[ControlRun],
    infected: Sequence[LabelSteps],
    transition: str,
    rng: np.random.Generator,
    n_permutations: int,
) -> Iterator[StepRow]:
    n = len(CHANNELS)
    sums = _Sums(
        *np.zeros((2, n)),
        *np.zeros((2, n_permutations, n)),
        *np.zeros((2, n), dtype=np.int64),
    )
    runs = [run for run in controls if run.of(transition).any()]
    for run in runs:
        _add_run(sums, _squashed(run.steps[run.of(transition)]), _squashed(run.elsewhere), rng)
    seen = _squashed(*(run.steps[run.of(transition)] for run in runs))
    ill = _squashed(*(run.steps[run.of(transition)] for run in infected))
    (step, size), (usual, usual_size), (ill_step, _) = (
        _means(steps) for steps in (seen, _squashed(*(run.elsewhere for run in runs)), ill)
    )
    n_ill = (~np.isnan(ill)).sum(axis=0)
    tested = (sums.n >= MIN_STEPS) & (sums.runs >= _MIN_RUNS)
    p_step = _share(np.abs(sums.permuted_step), np.abs(sums.step), tested)
    p_size = _share(sums.permuted_size, sums.size, tested)
    effect = np.divide(sums.step, sums.n, out=np.full(n, np.nan), where=sums.n > 0)
    for k, channel in enumerate(CHANNELS):
        yield {
            "channel": channel.name,
            "transition": transition,
            "unit": unit_of_steps(channel),
            "n_steps": int(sums.n[k]),
            "n_controls": int(sums.runs[k]),
            "step": finite_or_none(step[k]),
            "usual": finite_or_none(usual[k]),
            "size": finite_or_none(size[k]),
            "usual_size": finite_or_none(usual_size[k]),
            "infected": finite_or_none(ill_step[k]),
            "n_infected": int(n_ill[k]),
            "effect": finite_or_none(effect[k]),
            "p_step": finite_or_none(p_step[k]),
            "p_size": finite_or_none(p_size[k]),
            "p_holm": None,
        }


def _squashed(*steps: Floats) -> Floats:
    """(n, 46) steps of several runs by asinh, in units of each channel's resolution."""
    every = np.concatenate([np.zeros((0, RESOLUTIONS.size)), *steps])
    squashed: Floats = np.arcsinh(every / RESOLUTIONS)
    return squashed


def _add_run(sums: _Sums, chosen: Floats, elsewhere: Floats, rng: np.random.Generator) -> None:
    """Add one run's steps and as many permutations of them.

    Channels whose known steps are the same ones share their draws: those of one source, as a rule.
    """
    pool = np.concatenate([chosen, elsewhere])
    known = ~np.isnan(pool)
    patterns, of_channel = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        n_chosen = int(pattern[: len(chosen)].sum())
        n_pool = int(pattern.sum())
        if not 0 < n_chosen < n_pool:
            continue
        channels = np.flatnonzero(of_channel == number)
        steps = pool[np.ix_(pattern, channels)]
        drawn = _draws(rng, len(sums.permuted_step), n_pool, n_chosen)
        for values, total, permuted in (
            (steps, sums.step, sums.permuted_step),
            (np.abs(steps), sums.size, sums.permuted_size),
        ):
            scaled = _standardized(values)
            total[channels] += scaled[:n_chosen].sum(axis=0)
            permuted[:, channels] += scaled[drawn].sum(axis=1)
        sums.n[channels] += n_chosen
        sums.runs[channels] += 1


def _draws(
    rng: np.random.Generator, n_draws: int, n_pool: int, n_chosen: int
) -> npt.NDArray[np.int64]:
    """(n_draws, n_chosen) places of a pool, drawn without replacement."""
    if n_chosen == 1:
        return rng.integers(n_pool, size=(n_draws, 1))
    order = rng.random((n_draws, n_pool), dtype=np.float32)
    return order.argpartition(n_chosen - 1, axis=1)[:, :n_chosen]


def _standardized(values: Floats) -> Floats:
    """Centre and scale each column; zeros where it never varies."""
    centred = values - values.mean(axis=0)
    deviation = values.std(axis=0)
    scaled = np.zeros_like(values)
    np.divide(centred, deviation, out=scaled, where=deviation > _SAME)
    return scaled


def _share(permuted: Floats, seen: Floats, tested: Bools) -> Floats:
    """(B, 46) sums and (46,) that were seen -> (46,) p-values; NaN where nothing is tested."""
    p = (1 + (permuted >= seen - _SAME).sum(axis=0)) / (len(permuted) + 1)
    return np.where(tested, p, np.nan)


def _means(squashed: Floats) -> tuple[Floats, Floats]:
    """(46,) mean step and mean size of (n, 46) squashed steps, back in the channels' units."""
    known = ~np.isnan(squashed)
    n = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, squashed, 0.0)
    some = known.any(axis=0)
    step, size = (
        np.where(some, np.sinh(values.sum(axis=0) / n) * RESOLUTIONS, np.nan)
        for values in (filled, np.abs(filled))
    )
    return step, size


def _combined(row: StepRow) -> float:
    """p-value of a row, of the smaller of its two by Bonferroni; NaN if not tested."""
    p_step, p_size = row["p_step"], row["p_size"]
    if p_step is None or p_size is None:
        return float("nan")
    return min(1.0, _N_TESTS_PER_ROW * min(p_step, p_size))


def clearness(row: StepRow) -> tuple[float, float]:
    """Key by which the clearest row comes first: least p-value, then largest effect."""
    p, effect = row["p_holm"], row["effect"]
    return (2.0 if p is None else p, -abs(effect or 0.0))


def _quarantined(
    rows: Sequence[StepRow], controls: Sequence[ControlRun], level: float
) -> list[Quarantined]:
    """Channels with a p-value by Holm of at most the level, each with its clearest row.

    Beside it the steps at begins of look-alikes: a process that starts costs memory, whosever it
    is, and a channel that steps there as far is no mark of the recorder alone.
    """
    found: list[Quarantined] = []
    begins = _squashed(*(run.look_alikes for run in controls))
    (look_alike, look_alike_size), n_begins = _means(begins), (~np.isnan(begins)).sum(axis=0)
    for k, channel in enumerate(CHANNELS):
        stepping = [
            row
            for row in rows
            if row["channel"] == channel.name
            and row["p_holm"] is not None
            and row["p_holm"] <= level
        ]
        if not stepping:
            continue
        clearest = min(stepping, key=clearness)
        median, n_larger = _in_runs(controls, clearest["transition"], k)
        quarantined: Quarantined = {
            "channel": channel.name,
            "transitions": [row["transition"] for row in stepping],
            "reason": _reason(clearest),
            "median": finite_or_none(median),
            "n_larger": n_larger,
            "n_look_alikes": int(n_begins[k]),
            "look_alike": finite_or_none(look_alike[k]),
            "look_alike_size": finite_or_none(look_alike_size[k]),
            "line": "",
        }
        quarantined["line"] = _toml_line(quarantined, clearest)
        found.append(quarantined)
    return found


def _in_runs(controls: Sequence[ControlRun], transition: str, k: int) -> tuple[float, int]:
    """Median step of a channel at a transition, and controls with larger steps than elsewhere."""
    runs = [(run.steps[run.of(transition), k], run.elsewhere[:, k]) for run in controls]
    known = [[steps[~np.isnan(steps)] for steps in run] for run in runs]
    larger = [
        np.abs(there).mean() > np.abs(elsewhere).mean()
        for there, elsewhere in known
        if there.size and elsewhere.size
    ]
    return float(np.median(np.concatenate([there for there, _ in known]))), int(sum(larger))


def _toml_line(channel: Quarantined, row: StepRow) -> str:
    """Line of ``cis490.toml``; no text in it needs an escape."""
    beside = "no look-alike to compare with"
    if channel["look_alike"] is not None:
        beside = f"{channel['look_alike']:+.3g} at {channel['n_look_alikes']} begins of look-alikes"
    return (
        f'"{channel["channel"]}" = "median step {channel["median"]:+.3g} {row["unit"]} at would-be '
        f"{row['transition']}, larger than elsewhere in {channel['n_larger']} of "
        f'{row["n_controls"]} controls, p {row["p_holm"]:.2g} by Holm; {beside}"'
    )


def _reason(row: StepRow) -> str:
    beside = ""
    if row["infected"] is not None:
        beside = f"; {row['n_infected']} of infected runs by {row['infected']:+.4g}"
    return (
        f"steps by {row['step']:+.4g} {row['unit']} (size {row['size']:.4g}) at would-be "
        f"{row['transition']} in clean controls, elsewhere by {row['usual']:+.4g} "
        f"(size {row['usual_size']:.4g}): {row['effect']:+.2f} deviations, p {row['p_holm']:.2g} "
        f"by Holm, {row['n_steps']} steps of {row['n_controls']} controls{beside}"
    )
