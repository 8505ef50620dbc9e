"""Schedule of a recording: which treatment each host gets when, and each run's script of phases.

Everything is drawn from the plan's seed. The order of phases is semi-Markov after an exponential
clean lead: a fixed order lets a model read the phase off the clock (macro F1 .66 from the elapsed
time alone; .25 with this schedule).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from cis490_pipeline.domain import Phase
from cis490_pipeline.recording.blocks import PlannedRun, Treatment, in_blocks, treatments
from cis490_pipeline.recording.guest.protocol import Parameters
from cis490_pipeline.recording.plan import LOOKALIKES, HostShape, RecordingPlan

WORKLOAD_SLOT: Final = "workload"
SHAM_ACTIVITY: Final = "sham"
_C, _A, _I, _R, _D = (
    Phase.CLEAN,
    Phase.ARMED,
    Phase.INFECTING,
    Phase.INFECTED_RUNNING,
    Phase.DORMANT,
)
_NEXT: Final[dict[Phase, dict[Phase, float]]] = {
    _C: {_A: 0.35, _I: 0.25, _R: 0.25, _D: 0.15},
    _A: {_I: 0.55, _R: 0.2, _D: 0.1, _C: 0.15},
    _I: {_R: 0.65, _A: 0.1, _D: 0.1, _C: 0.15},
    _R: {_D: 0.45, _C: 0.3, _I: 0.15, _A: 0.1},
    _D: {_R: 0.45, _C: 0.3, _I: 0.15, _A: 0.1},
}
"""Probability of each phase after each; any may come first, and skips and returns occur."""
_LOOKALIKE_S: Final = (8.0, 40.0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of phase: what the guest is asked to do, and the event that justifies the label."""

    at_s: float
    """Planned time since the first label; the label gets the time that the guest confirms."""
    phase: Phase
    event: str
    activity: str | None
    """Activity to run in this phase; ``None`` stops what runs."""
    parameters: Parameters


@dataclass(frozen=True, kw_only=True)
class Background:
    """A benign look-alike that comes and goes."""

    at_s: float
    end_s: float
    activity: str
    parameters: Parameters


@dataclass(frozen=True, kw_only=True)
class PlannedEpisode:
    """One run of the plan."""

    number: int
    block: int
    """Part of the plan that it belongs to, from 1 on."""
    token: bytes
    """Ten bytes that end the episode's id, by which ``--resume`` knows it."""
    host: HostShape
    treatment: Treatment | None
    settle_s: float
    duration_s: float
    steps: tuple[Step, ...]
    shams: tuple[Step, ...]
    """Steps of a sham-armed control: each with the phase that it would begin, and no behaviour."""
    backgrounds: tuple[Background, ...]


def schedule(plan: RecordingPlan) -> list[PlannedEpisode]:
    """Return the runs of a plan in the order in which they are to be recorded.

    Returns
    -------
    list of PlannedEpisode
        Block by block; in each, round by round each host once; treatments by a Latin square over
        host and treatment, spread over the whole time.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(plan.seed)))
    blocks = in_blocks(plan, list(_assignments(plan, rng)), rng)
    runs = [(block, run) for block, runs in enumerate(blocks, 1) for run in runs]
    is_sham = _drawn_shams(plan, [run for _, run in runs], rng)
    return [
        _episode(plan, number, block, run, is_sham=number in is_sham)
        for number, (block, run) in enumerate(runs)
    ]


def _assignments(plan: RecordingPlan, rng: np.random.Generator) -> Iterator[PlannedRun]:
    """Yield host and treatment of each run; a cyclic Latin square with shuffled rows and columns.

    Over as many rounds as there are treatments, each host gets each treatment once; within a round
    no two hosts get the same while there are enough treatments and none is kept for some hosts.
    """
    given = treatments(plan)
    n_clean = round(plan.episodes * plan.clean_only_share) if given else plan.episodes
    clean = np.zeros(plan.episodes, dtype=bool)
    clean[rng.permutation(plan.episodes)[:n_clean]] = True
    rows, symbols = rng.permutation(len(plan.host)), rng.permutation(max(1, len(given)))
    columns = [
        [
            treatment
            for k in range(len(given))
            if (treatment := given[symbols[(row + k) % len(given)]]).is_for(host)
        ]
        for host, row in zip(plan.host, rows, strict=True)
    ]
    # Each host's own count of infected runs is its column: a clean-only run takes none away.
    done = [0] * len(plan.host)
    order: list[int] = []
    for is_clean in clean:
        if not order:
            order = rng.permutation(len(plan.host)).tolist()
        host = order.pop()
        if is_clean:
            yield PlannedRun(host=plan.host[host])
            continue
        yield PlannedRun(
            host=plan.host[host], treatment=columns[host][done[host] % len(columns[host])]
        )
        done[host] += 1


def _drawn_shams(
    plan: RecordingPlan, runs: Sequence[PlannedRun], rng: np.random.Generator
) -> set[int]:
    """Return the numbers of the clean-only runs that are sham-armed; long clean runs never are."""
    clean = [
        number
        for number, run in enumerate(runs)
        if plan.profile and run.treatment is None and run.clean_s is None
    ]
    n_shams = round(len(clean) * plan.sham_share)
    return {clean[k] for k in rng.permutation(len(clean))[:n_shams].tolist()}


def _episode(
    plan: RecordingPlan, number: int, block: int, run: PlannedRun, *, is_sham: bool
) -> PlannedEpisode:
    # Seeds of their own, so that a longer plan begins with the same scripts.
    rng = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(plan.seed, spawn_key=(number,)))
    )
    timing = plan.timing
    lead_s = min(timing.lead_s + rng.exponential(timing.lead_mean_s), timing.lead_cap_s)
    end_s = run.clean_s or lead_s + rng.uniform(*timing.chain_s)
    steps = _chain(plan, run.treatment, lead_s, end_s, rng) if run.treatment or is_sham else []
    token = hashlib.sha256(f"{plan.digest}/{number}".encode()).digest()[:10]
    return PlannedEpisode(
        number=number,
        block=block,
        token=token,
        host=run.host,
        treatment=run.treatment,
        settle_s=round(float(rng.uniform(*timing.settle_s)), 3),
        duration_s=round(end_s, 3),
        steps=() if is_sham else tuple(steps),
        shams=tuple(steps) if is_sham else (),
        backgrounds=() if run.is_plain else tuple(_backgrounds(plan, run.host, end_s, rng)),
    )


def _chain(
    plan: RecordingPlan,
    treatment: Treatment | None,
    lead_s: float,
    end_s: float,
    rng: np.random.Generator,
) -> list[Step]:
    """Draw the phases after the lead: each by the one before, each with a length of its own."""
    shortest_s, longest_s = plan.timing.phase_s
    steps: list[Step] = []
    at_s, before, has_run = lead_s, _C, False
    while end_s - at_s >= shortest_s:
        phase = _drawn(_NEXT[before], rng)
        steps.append(_step(at_s, phase, before, has_run, treatment, rng))
        has_run = phase is not _C and (has_run or phase is _R)
        length_s = shortest_s + rng.exponential(plan.timing.phase_mean_s)
        at_s, before = at_s + min(length_s, longest_s), phase
    return steps


def _drawn(shares: dict[Phase, float], rng: np.random.Generator) -> Phase:
    phases = list(shares)
    return phases[int(rng.choice(len(phases), p=[shares[phase] for phase in phases]))]


def _step(
    at_s: float,
    phase: Phase,
    before: Phase,
    has_run: bool,
    treatment: Treatment | None,
    rng: np.random.Generator,
) -> Step:
    seed: Parameters = {"seed": int(rng.integers(2**31))}
    activity: str | None
    parameters: Parameters
    if phase is _C:
        event, activity, parameters = "workload_removed", None, {}
    elif phase is _A:
        event, activity = "workload_armed", "armed"
        parameters = {"payload_kib": int(rng.integers(40, 2000))}
    elif phase is _I:
        event, activity = "workload_infecting", "infecting"
        parameters = {
            "copy_kib": int(rng.integers(16, 256)),
            "steps_per_s": round(float(rng.uniform(2.0, 8.0)), 3),
        }
    elif phase is _R:
        event = "session_open" if before is _D and has_run else "workload_started"
        activity, parameters = (treatment.activity, treatment.parameters) if treatment else ("", {})
    else:
        # Both leave an implant behind: a machine without one is clean, whatever its label.
        event = "workload_killed" if rng.random() < 0.5 else "session_idle"
        activity = "dormant"
        parameters = {"beacon_s": round(float(rng.uniform(3.0, 12.0)), 3)}
    if activity is not None and treatment is None:
        activity, parameters = SHAM_ACTIVITY, {}
    return Step(
        at_s=round(at_s, 3),
        phase=phase,
        event=event,
        activity=activity,
        parameters={**parameters, **seed} if activity else {},
    )


def _backgrounds(
    plan: RecordingPlan, host: HostShape, end_s: float, rng: np.random.Generator
) -> Iterator[Background]:
    """Draw look-alikes as a Poisson process over the whole run, blind to its phases."""
    names = plan.lookalikes if host.lookalikes is None else host.lookalikes
    if not names or not plan.lookalikes_per_minute:
        return
    at_s = float(rng.exponential(60.0 / plan.lookalikes_per_minute))
    while at_s < end_s - _LOOKALIKE_S[0]:
        name = names[int(rng.integers(len(names)))]
        length_s = float(rng.uniform(*_LOOKALIKE_S))
        yield Background(
            at_s=round(at_s, 3),
            end_s=round(min(at_s + length_s, end_s - 1.0), 3),
            activity=name,
            parameters=_scaled(LOOKALIKES[name], plan.lookalike_strength, rng)
            | {"seed": int(rng.integers(2**31))},
        )
        at_s += length_s + float(rng.exponential(60.0 / plan.lookalikes_per_minute))


def _scaled(
    parameters: Parameters, bounds: tuple[float, float], rng: np.random.Generator
) -> Parameters:
    """Scale a look-alike's parameters by one factor: no two builds or backups are alike."""
    factor = float(np.exp(rng.uniform(*np.log(bounds))))
    scaled = {name: _times(value, factor) for name, value in parameters.items()}
    return msgspec.convert(scaled, Parameters)


def _times(value: object, factor: float) -> object:
    if isinstance(value, int):
        return max(1, round(value * factor))
    return round(value * factor, 3) if isinstance(value, float) else value


def phase_text(steps: Sequence[Step]) -> str:
    """Return a run's phases and planned times in one line."""
    return " ".join(["clean", *(f"{step.at_s:.0f}:{step.phase}" for step in steps)])
