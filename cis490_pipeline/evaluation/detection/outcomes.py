"""Outcome of an alarm in each episode: detections with their delay, and false alarms."""

from dataclasses import dataclass

import numpy as np

from cis490_pipeline.alarm.alarm import ARMED, INFECTED
from cis490_pipeline.domain import CLASS_INDEX, NS_PER_S, Phase
from cis490_pipeline.domain.arrays import Bools, Floats, Ints
from cis490_pipeline.evaluation.detection.windows import AlarmWindows
from cis490_pipeline.features.windows import STRIDE_S

_CLEAN = CLASS_INDEX[Phase.CLEAN]
_DAY_S = 86_400.0
_TOLERANCE_S = 1 / NS_PER_S


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Of C settings of an alarm over E episodes.

    Attributes
    ----------
    infected : (E,) an infection began, and a window ended while it lasted.
    watched_s : (E,) from its beginning to the end of the last window that ended in it; NaN else.
    detected : (C, E) the alarm rose while the infection lasted, not having stood when it began.
    delay_s : (C, E) from its beginning to the end of the window with which the alarm first rose;
        NaN where it was not detected.
    already : (C, E) the alarm stood when it began: no detection.
    false_alarm : (C, n) the alarm rose with this window, and the device was clean at its end.
    n_armed : (C,) alarms that rose while armed.
    alarmed : (C, E) the alarm stood at any window.
    clean : (n,) windows that could raise a false alarm: they are there, and end in clean time.
    """

    infected: Bools
    watched_s: Floats
    detected: Bools
    delay_s: Floats
    already: Bools
    false_alarm: Bools
    n_armed: Ints
    alarmed: Bools
    clean: Bools

    @property
    def clean_days(self) -> float:
        """Clean device-time watched, days: one stride for each window that ends in it."""
        return float(self.clean.sum() * STRIDE_S / _DAY_S)

    @property
    def n_false(self) -> Ints:
        """(C,) alarms that rose in clean time."""
        count: Ints = self.false_alarm.sum(axis=1)
        return count


def outcomes(windows: AlarmWindows, stands: Bools) -> Outcomes:
    """Compare where an alarm was on, (C, n) as of ``alarm_is_on``, with the true phases."""
    first = np.zeros(windows.present.size, dtype=np.bool_)
    first[windows.starts] = True
    before = np.zeros_like(stands)
    before[:, 1:] = stands[:, :-1]
    rises = stands & (first | ~before)
    onset = windows.onset_s[windows.episode]
    # In an episode without an infection every comparison with NaN is False. An end that falls on
    # the onset itself saw nothing of the infection.
    after = windows.end_s > onset + _TOLERANCE_S
    in_infection = after & INFECTED[windows.phase_at_end]
    watched = _latest(windows, np.where(in_infection, windows.end_s - onset, np.nan))
    infected = np.isfinite(watched)
    already = _stood_at_onset(windows, stands) & infected
    soonest = _soonest(windows, rises & in_infection, windows.end_s - onset)
    detected = np.isfinite(soonest) & ~already
    return Outcomes(
        infected=infected,
        watched_s=watched,
        detected=detected,
        delay_s=np.where(detected, soonest, np.nan),
        already=already,
        false_alarm=rises & (windows.phase_at_end == _CLEAN),
        n_armed=(rises & (windows.phase_at_end == ARMED)).sum(axis=1),
        alarmed=_any_of(windows, stands),
        clean=windows.present & (windows.phase_at_end == _CLEAN),
    )


def _stood_at_onset(windows: AlarmWindows, stands: Bools) -> Bools:
    """(C, E) whether the alarm stood after the last window that ended by the onset."""
    by_onset = windows.end_s <= windows.onset_s[windows.episode] + _TOLERANCE_S
    n_before = np.bincount(windows.episode, weights=by_onset, minlength=len(windows))
    last = windows.starts + n_before.astype(np.int64) - 1
    stood: Bools = stands[:, np.maximum(last, 0)] & (n_before > 0)
    return stood


def _latest(windows: AlarmWindows, values: Floats) -> Floats:
    latest = np.full(len(windows), -np.inf)
    np.fmax.at(latest, windows.episode, values)
    return np.where(np.isfinite(latest), latest, np.nan)


def _soonest(windows: AlarmWindows, hits: Bools, since_s: Floats) -> Floats:
    """(C, E) time of each episode's first hit; infinite without one."""
    soonest = np.full((len(hits), len(windows)), np.inf)
    # Hits are few: times of all windows for all settings would fill the memory.
    setting, row = np.nonzero(hits)
    np.minimum.at(soonest, (setting, windows.episode[row]), since_s[row])
    return soonest


def _any_of(windows: AlarmWindows, stands: Bools) -> Bools:
    if not len(windows):
        return np.zeros((len(stands), 0), dtype=np.bool_)
    any_of: Bools = np.logical_or.reduceat(stands, windows.starts, axis=1)
    return any_of
