"""Distance of labels from the behaviour they name, by the change point of what is seen outside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from benchmarks.recording.change_points import change_offset_s, times_away
from benchmarks.recording.episodes import Recorded
from cis490_pipeline.domain import NS_PER_S, Phase, Source
from cis490_pipeline.domain.arrays import Floats, Ints
from cis490_pipeline.evaluation.uncertainty.intervals import interval_of
from cis490_pipeline.evaluation.uncertainty.resampling import resample_weights

SEEN: Final[dict[str, tuple[Source, tuple[str, ...]]]] = {
    "cpu-saturate": (Source.PROC, ("cpu_user_jiffies", "cpu_sys_jiffies")),
    "io-walk": (Source.PROC, ("io_write_bytes",)),
    "scan-and-dial": (Source.NETFLOW, ("tcp_syn_out",)),
    "flood": (Source.NETFLOW, ("udp_pkts",)),
}
"""What shows a mimic from outside the guest: read by the host at 10 Hz, never by the guest."""
CONFUSED: Final = {"cpu-saturate": Phase.INFECTING}
"""A phase that does the same work: installing computes as well, so CPU need not change at all."""
N_CONTROLS: Final = 1000
SHIFT_S: Final = 3.0
N_RESAMPLES: Final = 10_000
_SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_FIRST_BEFORE_NS: Final = NS_PER_S // 2


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Begin or end of one phase ``infected_running``."""

    episode: str
    profile: str
    edge: str
    other: str
    """The phase before a begin, after an end."""
    offset_s: float
    """Change point minus label; NaN where none was found."""
    shifted_s: float
    """The same, found from a window that is off the label by up to 3 s."""


def edges(episodes: Sequence[Recorded], rng: np.random.Generator) -> list[Edge]:
    """Find the change point at each begin and end of ``infected_running`` of the four mimics."""
    return [
        Edge(
            episode=episode.episode_id,
            profile=episode.profile,
            edge=edge,
            other=other,
            offset_s=change_offset_s(*seen, at_ns),
            shifted_s=_shifted(seen, at_ns, round(rng.uniform(-SHIFT_S, SHIFT_S) * NS_PER_S)),
        )
        for episode in episodes
        if episode.profile in SEEN
        for seen in [rate_of(episode, episode.profile)]
        for edge, other, at_ns in transitions(episode)
    ]


def rate_of(episode: Recorded, profile: str) -> tuple[Ints, Floats]:
    """Return the steps and the rate by which a mimic is seen."""
    source, names = SEEN[profile]
    return episode.rate(source, *names)


def transitions(episode: Recorded) -> Iterator[tuple[str, str, int]]:
    """Yield ``begin`` or ``end``, the other phase, and the label's time, Unix ns."""
    for before, after in pairwise(episode.labels):
        if after["phase"] == Phase.INFECTED_RUNNING:
            yield "begin", str(before["phase"]), int(after["t_wall_ns"])
        if before["phase"] == Phase.INFECTED_RUNNING:
            yield "end", str(after["phase"]), int(after["t_wall_ns"])


def _shifted(seen: tuple[Ints, Floats], at_ns: int, shift_ns: int) -> float:
    return change_offset_s(*seen, at_ns + shift_ns) + shift_ns / NS_PER_S


def control(
    episodes: Sequence[Recorded], profile: str, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Run the detector at 1,000 random times away from labels of a mimic's episodes.

    Returns
    -------
    Quantiles of the offsets, and the shares within .3 s and 1 s beside those of an offset that
    is uniform over the ±4 s it can take; None without such an episode.
    """
    of_it = [episode for episode in episodes if episode.profile == profile]
    if not of_it:
        return None
    found = []
    for episode, n in zip(
        of_it, rng.multinomial(N_CONTROLS, [1 / len(of_it)] * len(of_it)), strict=True
    ):
        seen = rate_of(episode, profile)
        at = times_away(rng, episode.begin_ns, episode.end_ns, episode.times_ns, int(n))
        found += [change_offset_s(*seen, int(at_ns)) for at_ns in at]
    offsets = np.array(found)
    flat = int(np.isnan(offsets).sum())
    offsets = offsets[~np.isnan(offsets)]
    values = np.quantile(offsets, _SHARES) if offsets.size else []
    within = {
        f"share_within_{s:g}_s": round(float((np.abs(offsets) <= s).mean()), 3)
        for s in (0.3, 1.0)
        if offsets.size
    }
    return {
        "n": len(found),
        "nothing_varies": flat,
        "quantiles_s": {
            f"p{round(100 * share)}": round(float(value), 2)
            for share, value in zip(_SHARES, values, strict=False)
        },
        **within,
        "uniform_would_give": [0.075, 0.25],
    }


def summaries(found: Sequence[Edge]) -> list[dict[str, Any]]:
    """Summarise the distances by mimic and edge; beside a phase that does the same work, apart."""
    rows = []
    for profile in SEEN:
        for edge in ("begin", "end"):
            of_it = [e for e in found if (e.profile, e.edge) == (profile, edge)]
            same = [e for e in of_it if e.other == CONFUSED.get(profile)]
            other = [e for e in of_it if e not in same]
            if other:
                rows.append({"profile": profile, "edge": edge, **_summary(other)})
            if same:
                beside = str(same[0].other)
                rows.append({"profile": profile, "edge": edge, "beside": beside, **_summary(same)})
    return rows


def _summary(of_it: Sequence[Edge]) -> dict[str, Any]:
    episodes = [e.episode for e in of_it]
    return {
        **quantiles([abs(e.offset_s) for e in of_it], episodes),
        "signed_median_s": _median([e.offset_s for e in of_it]),
        "shifted_median_s": _median([abs(e.shifted_s) for e in of_it]),
    }


def quantiles(values: Sequence[float], episodes: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Median and p95 of values, with 95 % intervals that resample episodes.

    Parameters
    ----------
    values : (n,) seconds; NaN counts as no finding, and is in no quantile.
    episodes : (n,) the episode of each.
    """
    given = np.array(values, dtype=np.float64)
    known = ~np.isnan(given)
    x, names = given[known], np.array(episodes)[known]
    result: dict[str, Any] = {"n": len(given), "not_found": int((~known).sum())}
    if not x.size:
        return result | {"episodes": 0}
    order = np.argsort(x, kind="stable")
    x = x[order]
    kinds, index = np.unique(names[order], return_inverse=True)
    result["episodes"] = len(kinds)
    for name, share in (("median_s", 0.5), ("p95_s", 0.95)):
        estimate = float(np.quantile(x, share, method="inverted_cdf"))
        result[name] = _rounded(estimate)
        if len(kinds) < 2:
            continue
        weights = resample_weights(np.random.default_rng(seed), len(kinds), N_RESAMPLES)
        drawn = np.concatenate([_weighted(x, w[:, index], share) for w in weights])
        method, low, high = interval_of(drawn, estimate, len(kinds), 0.95)
        result[name.replace("_s", "_ci_s")] = [_rounded(max(0.0, low)), _rounded(high)]
        result["ci_method"] = method
    return result


def _weighted(x: Floats, weights: Floats, share: float) -> Floats:
    """(b,) quantile of ascending values in each row of (b, n) weights."""
    total = np.cumsum(weights, axis=1)
    reached = total >= share * total[:, -1:] - 1e-9
    chosen: Floats = x[np.argmax(reached, axis=1)]
    return chosen


def _median(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return _rounded(np.median(known)) if known else None


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def by_the_guests_log(episodes: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Labels of every mimic against what the guest noted of its actions, and the command.

    ``command_to_label_s``: from the command to the time of the guest's first action. The load
    before was ended in between, so no end of it lies further from the label than that.
    ``first_syn_after_begin_s``: end of the first bucket with a SYN of the guest, for mimics that
    connect at once and then pause.
    """
    rows = []
    profiles = sorted({episode.profile for episode in episodes if episode.profile})
    for profile in profiles:
        of_it = [episode for episode in episodes if episode.profile == profile]
        rows.append(
            {
                "profile": profile,
                "label_minus_event_max_s": max(_label_off_event(e) for e in of_it),
                "command_to_label_s": _collected(of_it, _command_to_label),
                "first_syn_after_begin_s": _collected(of_it, _first_syn)
                if profile in {"low-and-slow", "exfil-burst"}
                else None,
            }
        )
    return rows


def _collected(
    episodes: Sequence[Recorded], values_of: Callable[[Recorded], list[float]]
) -> dict[str, Any]:
    pairs = [(value, e.episode_id) for e in episodes for value in values_of(e)]
    return quantiles([value for value, _ in pairs], [name for _, name in pairs])


def _label_off_event(episode: Recorded) -> float:
    pairs = zip(episode.labels[1:], episode.events, strict=True)
    return max(abs(label["t_wall_ns"] - event["t_wall_ns"]) for label, event in pairs) / NS_PER_S


def _command_to_label(episode: Recorded) -> list[float]:
    return [(event["t_wall_ns"] - event["sent_wall_ns"]) / NS_PER_S for event in episode.events]


def _first_syn(episode: Recorded) -> list[float]:
    times, syn = episode.rate(Source.NETFLOW, "tcp_syn_out")
    found = []
    for edge, _, at_ns in transitions(episode):
        if edge == "begin":
            after = times[(times > at_ns - _FIRST_BEFORE_NS) & (syn > 0)]
            found.append(float(after[0] - at_ns) / NS_PER_S if after.size else float("nan"))
    return found
