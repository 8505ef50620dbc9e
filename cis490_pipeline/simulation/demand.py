"""Resource demand of all programs in one run, in steps of 0.1 s."""

from typing import Final

import numpy as np

from cis490_pipeline.domain import Phase
from cis490_pipeline.domain.arrays import Floats
from cis490_pipeline.simulation.characters import HostCharacter, SampleCharacter
from cis490_pipeline.simulation.parameters import (
    ACTIVITIES,
    BEHAVIOUR,
    BENIGN,
    BENIGN_LOAD,
    LATENTS,
    LEVELS,
)
from cis490_pipeline.simulation.plan import Plan

STEP_S: Final = 0.1
LEAD_S: Final = 1.5
"""Time simulated before the first label and after the end, for readings beyond them, s."""

ROW: Final = {name: k for k, name in enumerate(LATENTS)}
_LEVEL: Final = np.array([name in LEVELS for name in LATENTS])
_ASKED: Final = {
    name: np.array([activity.get(latent, 0.0) for latent in LATENTS])
    for name, activity in ACTIVITIES.items()
}


def run_load(
    plan: Plan, host: HostCharacter, sample: SampleCharacter | None, rng: np.random.Generator
) -> Floats:
    """Sum benign and malicious activities: (n_latents, n_steps), per second or as a level.

    Step k starts ``k × STEP_S − LEAD_S`` after the first label and lasts ``STEP_S``.
    """
    load = _Load(plan.duration_s, rng)
    _add_benign(load, plan, host)
    if sample is not None:
        _add_sample(load, plan, sample)
    return load.total


class _Load:
    def __init__(self, duration_s: float, rng: np.random.Generator) -> None:
        self.n_steps = int(np.ceil((duration_s + 2 * LEAD_S) / STEP_S))
        self.total = np.zeros((len(LATENTS), self.n_steps))
        self.rng = rng

    def step(self, time_s: float) -> int:
        """Return the step of a time, clipped to the run."""
        clipped = min(max(time_s, -LEAD_S), self.n_steps * STEP_S - LEAD_S)
        return round((clipped + LEAD_S) / STEP_S)

    def add(
        self,
        asked: Floats,
        start_s: float,
        stop_s: float,
        *,
        period_s: float | None = None,
        on_s: float = 0.0,
    ) -> None:
        """Add an activity from start to stop, steady or in bursts of ``on_s`` per period."""
        start, stop = self.step(start_s), self.step(stop_s)
        if stop <= start:
            return
        part = self.total[:, start:stop]
        if period_s is None:
            # The demand of real programs varies by about a third from second to second.
            n_seconds = (stop - start) // 10 + 1
            variation = np.repeat(np.exp(self.rng.normal(0.0, 0.35, n_seconds)), 10)[: stop - start]
            part += np.where(_LEVEL[:, None], asked[:, None], asked[:, None] * variation)
            return
        on = self._bursts(stop - start, period_s, on_s)
        part += np.where(_LEVEL[:, None], asked[:, None], asked[:, None] * on)

    def _bursts(self, n: int, period_s: float, on_s: float) -> Floats:
        """(n,) amplitude of bursts with jittered periods, lengths and strengths."""
        period, on = period_s / STEP_S, max(1, round(on_s / STEP_S))
        count = int(n / (0.7 * period)) + 2
        gaps = period * self.rng.uniform(0.7, 1.3, count)
        begin = (np.cumsum(gaps) - gaps[0] * self.rng.random()).astype(np.int64)
        lengths = np.maximum(1, np.rint(on * self.rng.uniform(0.8, 1.2, count))).astype(np.int64)
        strength = np.exp(self.rng.normal(0.0, 0.2, count))
        edges = np.zeros(n + 1)
        np.add.at(edges, np.minimum(begin, n), strength)
        np.add.at(edges, np.minimum(begin + lengths, n), -strength)
        return np.cumsum(edges)[:n]


def _add_benign(load: _Load, plan: Plan, host: HostCharacter) -> None:
    """Add benign programs, which run at any time and in every phase."""
    rng = load.rng
    poll_s = host.poll_period_s * float(rng.uniform(0.8, 1.2))
    load.add(_ASKED["poll"], -LEAD_S, np.inf, period_s=poll_s, on_s=0.5)
    load.add(_ASKED["journal"], -LEAD_S, np.inf, period_s=host.journal_period_s, on_s=0.4)
    # Services start or end during the run, so that memory use alone is not informative.
    for start in rng.uniform(-10.0, plan.duration_s, rng.poisson(BENIGN_LOAD.services)):
        held = np.zeros(len(LATENTS))
        low, high = BENIGN_LOAD.service_bytes
        held[ROW["memory"]] = np.exp(rng.uniform(np.log(low), np.log(high)))
        held[ROW["sockets"]] = rng.poisson(BENIGN_LOAD.service_sockets)
        until = start + rng.exponential(plan.duration_s)
        load.add(held, *((start, until) if rng.random() < 0.6 else (-LEAD_S, start)))
    n = rng.poisson(host.benign_per_minute * plan.duration_s / 60.0)
    kinds = rng.choice(len(BENIGN), n, p=host.benign_preference)
    starts = rng.uniform(-10.0, plan.duration_s, n)
    low, high = BENIGN_LOAD.duration_s
    lengths = np.exp(rng.uniform(np.log(low), np.log(high), n))
    strengths = BENIGN_LOAD.intensity * np.exp(rng.normal(0.0, BENIGN_LOAD.intensity_sigma, n))
    for kind, start, length, strength in zip(kinds, starts, lengths, strengths, strict=True):
        mix = np.exp(rng.normal(0.0, 0.3, len(LATENTS)))
        load.add(_ASKED[BENIGN[kind]] * mix * strength, start, start + length)


def _add_sample(load: _Load, plan: Plan, sample: SampleCharacter) -> None:
    rng = load.rng
    events = ("", *plan.events)
    for k, phase in enumerate(plan.phases):
        start_s, stop_s = float(plan.behaviour_s[k]), float(plan.behaviour_s[k + 1])
        run = float(np.exp(rng.normal(0.0, BEHAVIOUR.run_sigma)))
        if phase is Phase.ARMED:
            asked = _ASKED["recon"] * sample.mix * sample.recon_intensity * run
            period = sample.recon_period_s
            load.add(asked, start_s, stop_s, period_s=period, on_s=0.4 * period)
        elif phase is Phase.INFECTING:
            _add_infecting(load, sample, start_s, stop_s, run)
        elif phase is Phase.INFECTED_RUNNING:
            asked = _ASKED[sample.profile] * sample.mix * sample.intensity * run
            on_s = sample.duty * sample.period_s
            if sample.profile == "scan-and-dial":
                # All packets of a period leave in one burst.
                asked = np.where(_LEVEL, asked, asked * (sample.period_s / on_s))
            load.add(asked, start_s, stop_s, period_s=sample.period_s, on_s=on_s)
        if phase in (Phase.INFECTED_RUNNING, Phase.DORMANT):
            _add_beacons(load, sample, start_s, stop_s, idle=events[k] == "session_idle")


def _add_infecting(
    load: _Load, sample: SampleCharacter, start_s: float, stop_s: float, run: float
) -> None:
    asked = _ASKED["unpack"] * sample.mix * sample.unpack_intensity * run
    on_s = sample.unpack_duty * sample.unpack_period_s
    load.add(asked, start_s, stop_s, period_s=sample.unpack_period_s, on_s=on_s)
    asked = _ASKED["stage"] * sample.mix * sample.stage_intensity * run
    load.add(asked, start_s, start_s + float(load.rng.uniform(2.0, 8.0)))


def _add_beacons(
    load: _Load, sample: SampleCharacter, start_s: float, stop_s: float, *, idle: bool
) -> None:
    asked = _ASKED["beacon"] * sample.mix
    asked[ROW["memory"]] = sample.resident_bytes
    # An idle session keeps its connection; after a kill, the implant still sends beacons.
    asked[ROW["sockets"]] = 1.0 if idle else 0.0
    load.add(asked, start_s, stop_s, period_s=sample.beacon_period_s, on_s=sample.beacon_on_s)
