"""A whole made-up scene for the page: every type of event, as producers would send it."""

import math
from collections.abc import Iterator

import numpy as np

from cis490_pipeline.domain import CHANNELS, PHASES, Architecture
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.events import contract as c

EPISODE = "lab-pi/ep-0042"
DURATION_S = 120.0
SPANS = [
    c.PhaseSpan(phase=str(phase), start_s=start, end_s=end)
    for phase, start, end in zip(PHASES, (0, 28, 41, 55, 92), (28, 41, 55, 92, 120), strict=True)
]
INFECTION_S = 41.0
PROFILES = ("cryptominer", "exfil-burst", "keylogger", "ransomware", "scan-and-dial", "worm")
HOSTS = ("elliott-thinkpad", "lab-pi", "lab-x1")
FAILED = "lstm_oracle"
AWAITED = "transformer_oracle"
MODELS = [f"{a}_{v}" for a in Architecture for v in RUN_VARIANTS]
SCORED = [model for model in MODELS if model not in (FAILED, AWAITED)]


def scores() -> Iterator[c.Event]:
    """Scores of ten models; one failed, and one has not come yet."""
    for i, model in enumerate(MODELS):
        variant = model.rpartition("_")[2]
        value = 0.84 - 0.03 * (i // 2) + (0.08 if variant == "oracle" else 0)
        if model == FAILED:
            yield c.ModelFailure(
                model=model, why="split digest 1f2e is not the checkpoint's", split="host"
            )
        elif model != AWAITED:
            yield c.ModelMetric(
                model=model,
                accuracy=value,
                metric="macro_f1",
                ci_low=value - 0.03,
                ci_high=value + 0.025,
                n_episodes=41,
                n_windows=4012,
                split="host",
                variant=variant,
                untested_profiles={"elliott-thinkpad": ["scan-and-dial"], "lab-pi": []},
            )


def details(seed: int = 0) -> Iterator[c.Event]:
    """Confusion, groups and timings of every scored model."""
    rng = np.random.default_rng(seed)
    for i, model in enumerate(SCORED):
        counts = rng.integers(0, 60, (5, 5)) + np.diag(rng.integers(200, 1000, 5))
        counts[0, 4] = 0
        yield c.Confusion(
            model=model, labels=[str(p) for p in PHASES], counts=counts.tolist(), split="host"
        )
        for profile in PROFILES:
            for host in HOSTS:
                tested = (profile, host) != ("scan-and-dial", "elliott-thinkpad")
                yield c.GroupMetric(
                    model=model,
                    profile=profile,
                    host_id=host,
                    macro_f1=float(rng.uniform(0.1, 0.99)) if tested else None,
                    why=None if tested else "no episode of it on this host",
                    n_windows=int(rng.integers(40, 500)) if tested else 0,
                    split="host",
                )
        p50 = 300.0 * 1.4**i
        yield c.ModelPerf(
            model=model,
            latency_us=p50,
            accuracy=0.8,
            p50_us=p50,
            p95_us=p50 * 1.8,
            p99_us=p50 * 2.4,
            windows_per_s=1e6 / p50,
            device="Raspberry Pi 4, one thread",
        )


def curves() -> Iterator[c.Event]:
    """Courses of two channels for every profile, and one as the older dashboard had it."""
    t = np.arange(-10, 60, 0.5)
    for i, profile in enumerate(PROFILES):
        for channel in ("netflow.bytes_out", "guest.cpu_user"):
            middle = np.where(t < 0, 1.0, 1 + (i + 1) * np.exp(-t / 20) * (1 + np.sin(t / 3) / 3))
            yield c.AttackProfile(
                name=profile,
                shape="burst",
                curve=middle.tolist(),
                low=(middle * 0.7).tolist(),
                high=(middle * 1.4).tolist(),
                t_start_s=-10,
                step_s=0.5,
                channel=channel,
                unit="bytes/s",
                aligned_at="infecting",
                n_episodes=12,
            )


def episode(state: str = "running") -> c.Event:
    """What is replayed."""
    return c.Episode(
        episode_id=EPISODE,
        host_id="lab-pi",
        profile="ransomware",
        duration_s=DURATION_S,
        phases=SPANS,
        infection_s=INFECTION_S,
        state=state,
        origin="replay",
        models=MODELS,
    )


def phase_at(t_s: float) -> str:
    return next((s.phase for s in SPANS if s.start_s <= t_s < s.end_s), SPANS[-1].phase)


def telemetry(
    until_s: float = 107.0, *, rate_hz: float = 5.0, seed: int = 1, episode_id: str = EPISODE
) -> Iterator[c.Event]:
    """Readings of all 46 channels, a second at a time."""
    rng = np.random.default_rng(seed)
    n = round(rate_hz)
    for second in range(int(until_s)):
        t = second + np.arange(n) / rate_hz
        values = {}
        for k, channel in enumerate(CHANNELS):
            level = 1 + 4 * np.exp(-(((t - 60 - k % 7) / 15) ** 2)) * (1 + np.sin(t / (2 + k % 5)))
            values[channel.name] = (10 ** (k % 4) * (level + rng.random(n) * 0.4)).tolist()
        yield c.Telemetry(episode_id=episode_id, t_s=t.tolist(), values=values)


def predictions(until_s: float = 107.0, seed: int = 2) -> Iterator[c.Event]:
    """Verdicts of every scored model, every 5 s, wrong now and then; alarms from 46 s on."""
    rng = np.random.default_rng(seed)
    for i, model in enumerate(SCORED):
        for window in range(math.floor((until_s - 10) / 5) + 1):
            end = 10 + 5 * window
            actual = phase_at(end - 0.01)
            wrong = rng.random() < 0.12
            yield c.Prediction(
                episode_id=EPISODE,
                window_idx=window,
                predicted=str(rng.choice([str(p) for p in PHASES])) if wrong else actual,
                actual=actual,
                model=model,
                confidence=float(rng.uniform(0.4, 1)),
                t_start_s=end - 10.0,
                t_end_s=float(end),
                alarm=bool(end >= 46 + 5 * (i % 3) or (i == 3 and window == 2)),
            )


def points(n: int = 500, seed: int = 3) -> Iterator[c.Event]:
    """A cloud for each phase."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        k = i % len(PHASES)
        yield c.Embedding(
            x=float(0.2 + 0.15 * k + rng.normal(0, 0.05)),
            y=float(0.5 + 0.3 * math.sin(2 * k) + rng.normal(0, 0.06)),
            phase=str(PHASES[k]),
            model=SCORED[0],
            episode_id=EPISODE,
            window_idx=i,
        )


def sources() -> Iterator[c.Event]:
    yield c.SourceState(episode_id=EPISODE, source="guest", state="ok")
    yield c.SourceState(
        episode_id=EPISODE, source="netflow", state="late", why="no row for 4.2 s", t_s=103
    )
    yield c.SourceState(
        episode_id=EPISODE,
        source="agent",
        state="ok",
        why="8 packets dropped; without tcp_total",
        detail="11.0 rows/s, late p99 4 ms, 8 of 12,345 packets dropped, 0.3 % of a core, 34 MB",
    )


def whole() -> list[c.Event]:
    """Everything, in the order producers would send it."""
    return [
        *scores(),
        *details(),
        *curves(),
        episode(),
        *sources(),
        *telemetry(),
        *predictions(),
        *points(),
    ]
