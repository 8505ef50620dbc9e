"""Windows of 10 s every 5 s on the grid, and their phase labels."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import CLASS_INDEX, PHASES
from cis490_pipeline.domain.arrays import class_indices
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.resample import GRID_HZ, STEP_NS

WINDOW_S: Final = 10.0
STRIDE_S: Final = 5.0
BASELINE_S: Final = 15.0
STEPS: Final = int(WINDOW_S * GRID_HZ)
STRIDE_STEPS: Final = int(STRIDE_S * GRID_HZ)
BASELINE_STEPS: Final = int(BASELINE_S * GRID_HZ)


def window_starts(n_steps: int) -> npt.NDArray[np.int64]:
    """Return the first step of every whole window of a grid: (n_windows,)."""
    return np.arange(0, n_steps - STEPS + 1, STRIDE_STEPS, dtype=np.int64)


def window_t_ns(
    t0_ns: int, starts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return start and end of windows, Unix ns: two arrays (n_windows,)."""
    start_ns = t0_ns + starts * STEP_NS
    return start_ns, start_ns + STEPS * STEP_NS


def touches_baseline(starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mask of the windows that overlap the baseline, the first 15 s: (n_windows,)."""
    return starts < BASELINE_STEPS


def cut_windows(
    grid: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Cut windows of a time-major grid: (n_windows, 100, n_channels), read-only if a view.

    Consecutive windows are a view: they overlap, and copying costs as much as summarizing them.
    """
    if starts.size and (np.diff(starts) == STRIDE_STEPS).all():
        all_windows = np.lib.stride_tricks.sliding_window_view(grid, STEPS, axis=0)
        stop = starts[-1] + 1
        return all_windows[starts[0] : stop : STRIDE_STEPS].transpose(0, 2, 1)
    return grid[starts[:, None] + np.arange(STEPS)]


def window_labels(
    label_t_ns: Sequence[int],
    phases: Sequence[str],
    t0_ns: int,
    end_ns: int,
    starts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Label windows with the phase at their centre, and its share of the window.

    Parameters
    ----------
    label_t_ns : Unix time of each transition, ns, ascending, the first at or before ``t0_ns``.
    phases : phase from each transition to the next; a phase may return.
    t0_ns : start of the grid, Unix ns.
    end_ns : end of the last phase, Unix ns.
    starts : (n_windows,) first step of each window.

    Returns
    -------
    y : (n_windows,) class index in ``domain.PHASES``.
    purity : (n_windows,) share of the window in that phase, 0 to 1.

    Raises
    ------
    DatasetError
        If a phase is no class, or there is no label at the grid's start.
    """
    unknown = sorted(set(phases) - set(CLASS_INDEX))
    if unknown:
        raise DatasetError(
            f"labels name {unknown}, which are no classes; wanted {list(CLASS_INDEX)}"
        )
    if not label_t_ns or label_t_ns[0] > t0_ns:
        raise DatasetError(
            f"the grid starts at {t0_ns} ns, before its first label "
            f"({label_t_ns[0] if label_t_ns else 'there is none'})"
        )
    classes = class_indices(phases)
    since_t0 = np.array([*label_t_ns, max(end_ns, label_t_ns[-1])], dtype=np.int64) - t0_ns
    begin = starts * STEP_NS
    end = begin + STEPS * STEP_NS
    at_centre = np.searchsorted(since_t0[:-1], (begin + end) // 2, side="right") - 1
    y = classes[at_centre]

    # Cumulative time per phase at each label; a window's share is a difference of two of these.
    spent = np.zeros((len(PHASES), since_t0.size))
    spent[classes, np.arange(1, since_t0.size)] = np.diff(since_t0)
    spent = np.cumsum(spent, axis=1)
    in_phase = np.stack(
        [np.interp(end, since_t0, row) - np.interp(begin, since_t0, row) for row in spent]
    )
    purity = in_phase[y, np.arange(y.size)] / (STEPS * STEP_NS)
    return y.astype(np.int64), np.clip(purity, 0.0, 1.0)


def baseline_is_clean(label_t_ns: Sequence[int], phases: Sequence[str], t0_ns: int) -> bool:
    """Whether all of the first 15 s are labelled clean."""
    until = t0_ns + BASELINE_STEPS * STEP_NS
    return all(phase == PHASES[0] for t, phase in zip(label_t_ns, phases, strict=True) if t < until)
