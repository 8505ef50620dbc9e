"""Outcome of an alarm in each episode: detections with their delay, and false alarms."""

from dataclasses import dataclass

import numpy as np

from cis490_pipeline.alarm.alarm import ARMED
from cis490_pipeline.domain import CLASS_INDEX, NS_PER_S, Phase
from cis490_pipeline.domain.arrays import Bools, Floats, Ints
from cis490_pipeline.evaluation.detection.windows import AlarmWindows
from cis490_pipeline.features.windows import STRIDE_S

_CLEAN = CLASS_INDEX[Phase.CLEAN]
_DAY_S = 86_400.0
_TOLERANCE_S = 1 / NS_PER_S


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """Of C settings of an alarm over I infections, n windows and E episodes.

    Attributes
    ----------
    infected : (I,) a window ended after the infection's onset, while it lasted.
    watched_s : (I,) from its onset to the end of the last window that ended in it; NaN else.
    detected : (C, I) the alarm rose while the infection lasted, not having stood when it began.
    delay_s : (C, I) from its onset to the end of the window with which the alarm first rose; 0 if
        it rose in a dormant beginning before the onset, NaN where it was not detected.
    already : (C, I) the alarm stood when it began: no detection.
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
    inside, which = windows.infection >= 0, windows.infection
    since_s = np.full(windows.end_s.size, np.nan)
    since_s[inside] = windows.end_s[inside] - windows.infections.onset_s[which[inside]]
    watched = _latest(windows, since_s)
    infected = np.isfinite(watched)
    already = _stood_at_beginning(windows, stands) & infected
    soonest = _soonest(windows, rises & inside, since_s)
    detected = np.isfinite(soonest) & infected & ~already
    return Outcomes(
        infected=infected,
        watched_s=watched,
        detected=detected,
        delay_s=np.where(detected, np.maximum(soonest, 0.0), np.nan),
        already=already,
        false_alarm=rises & (windows.phase_at_end == _CLEAN),
        n_armed=(rises & (windows.phase_at_end == ARMED)).sum(axis=1),
        alarmed=_any_of(windows, stands),
        clean=windows.present & (windows.phase_at_end == _CLEAN),
    )


def _stood_at_beginning(windows: AlarmWindows, stands: Bools) -> Bools:
    """(C, I) whether the alarm stood after the last window that ended by the beginning."""
    infections = windows.infections
    first = windows.starts[infections.episode]
    after = first + windows.lengths[infections.episode]
    n_before = np.array(
        [
            np.searchsorted(windows.end_s[a:b], begin_s + _TOLERANCE_S, side="right")
            for a, b, begin_s in zip(first, after, infections.begin_s, strict=True)
        ],
        dtype=np.int64,
    )
    stood: Bools = stands[:, np.maximum(first + n_before - 1, 0)] & (n_before > 0)
    return stood


def _latest(windows: AlarmWindows, since_s: Floats) -> Floats:
    """(I,) latest time after the onset at which a window ended in each infection; NaN if none."""
    latest = np.zeros(len(windows.infections))
    inside = windows.infection >= 0
    np.maximum.at(latest, windows.infection[inside], since_s[inside])
    return np.where(latest > _TOLERANCE_S, latest, np.nan)


def _soonest(windows: AlarmWindows, hits: Bools, since_s: Floats) -> Floats:
    """(C, I) time of each infection's first hit; infinite without one."""
    soonest = np.full((len(hits), len(windows.infections)), np.inf)
    # Hits are few: times of all windows for all settings would fill the memory.
    setting, row = np.nonzero(hits)
    np.minimum.at(soonest, (setting, windows.infection[row]), since_s[row])
    return soonest


def _any_of(windows: AlarmWindows, stands: Bools) -> Bools:
    if not len(windows):
        return np.zeros((len(stands), 0), dtype=np.bool_)
    any_of: Bools = np.logical_or.reduceat(stands, windows.starts, axis=1)
    return any_of
