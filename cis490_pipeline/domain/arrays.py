"""Arrays as signatures name them, and phases as class indices."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain.terms import CLASS_INDEX

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]


def class_indices(phases: Iterable[str]) -> Ints:
    """(n,) class index of each phase; `KeyError` if one is no phase."""
    return np.array([CLASS_INDEX[phase] for phase in phases], dtype=np.int64)
