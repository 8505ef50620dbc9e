"""Made-up episodes whose true macro F1 is known exactly, with windows as alike as asked for."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import stats

from cis490_pipeline.evaluation.confusion import macro_f1

MEAN_WINDOWS = np.array([3.0, 2.0, 2.0, 4.0, 1.5])
"""Windows of each phase in an episode, about those of the recorded corpus; Poisson."""
CLEAN_ONLY_SHARE = 0.1
RECALL = np.array([0.85, 0.65, 0.6, 0.75, 0.4])
MISTAKEN_FOR = np.array(
    [
        [0.0, 0.8, 0.0, 0.1, 0.1],
        [0.3, 0.0, 0.4, 0.2, 0.1],
        [0.0, 0.2, 0.0, 0.7, 0.1],
        [0.0, 0.1, 0.6, 0.0, 0.3],
        [0.1, 0.1, 0.1, 0.7, 0.0],
    ]
)
"""(true, predicted) of a window that is not recognized; rows sum to one."""

_TABLE = 4096


@dataclass(frozen=True)
class Population:
    """All episodes there might be; windows of one phase of an episode correlate by ``icc``.

    Attributes
    ----------
    icc : intraclass correlation of "recognized" among the windows of one phase of an episode.
        Recall varies by episode as a beta distribution with that correlation; an episode is as
        easy or hard in all its phases.
    """

    icc: float

    @cached_property
    def _recall_by_ease(self) -> npt.NDArray[np.float64]:
        """(4096, K) recall of episodes from the hardest to the easiest, equally likely."""
        if self.icc == 0:
            return np.tile(RECALL, (_TABLE, 1))
        ease = (np.arange(_TABLE) + 0.5) / _TABLE
        size = (1 - self.icc) / self.icc
        table: npt.NDArray[np.float64] = stats.beta.ppf(
            ease[:, None], RECALL * size, (1 - RECALL) * size
        )
        return table

    @cached_property
    def macro_f1(self) -> float:
        """Macro F1 over all windows there might be."""
        recall = self._recall_by_ease.mean(axis=0)
        expected = np.diag(recall) + (1 - recall)[:, None] * MISTAKEN_FOR
        windows = MEAN_WINDOWS * (1 - CLEAN_ONLY_SHARE)
        windows[0] += MEAN_WINDOWS.sum() * CLEAN_ONLY_SHARE
        return macro_f1(expected * windows[:, None])

    def predicted(
        self,
        rng: np.random.Generator,
        y_true: npt.NDArray[np.int64],
        ease: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Predict windows (n_windows,) of the given phases, by the ease of each one's episode."""
        right = rng.random(y_true.size) < self._recall_by_ease[ease, y_true]
        steps = MISTAKEN_FOR.cumsum(axis=1)[y_true]
        mistake = (rng.random(y_true.size)[:, None] >= steps).sum(axis=1)
        return np.where(right, y_true, mistake)


def draw_windows(
    rng: np.random.Generator, n_episodes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw the true phase and the episode number of every window: two arrays (n_windows,)."""
    n = rng.poisson(MEAN_WINDOWS, size=(n_episodes, MEAN_WINDOWS.size))
    clean_only = rng.random(n_episodes) < CLEAN_ONLY_SHARE
    n[clean_only, 0] = n[clean_only].sum(axis=1)
    n[clean_only, 1:] = 0
    # An episode without any window is none.
    n[n.sum(axis=1) == 0, 0] = 1
    cells = np.repeat(np.arange(n.size), n.ravel())
    return cells % MEAN_WINDOWS.size, cells // MEAN_WINDOWS.size


def draw_ease(rng: np.random.Generator, n_episodes: int) -> npt.NDArray[np.int64]:
    """Rank of each episode among all there might be: (n_episodes,)."""
    return rng.integers(_TABLE, size=n_episodes)
