"""Cleanliness check: a conformal test of whether a baseline was recorded on a clean device.

A baseline recorded during an infection hides that infection. The check gets at least 15 s of an
unseen device and has no other data of it. A logistic regression separates infected from clean
segments of train's hosts by the five statistics of each deployable channel. Its score becomes a
conformal p-value: the share of train's clean baselines, scored out of fold, with at least that
score. Baselines with p ≤ 5 % are flagged.

With few hosts, folds are of episodes: on devices like train's, 5 % of clean baselines are therefore
flagged; on other devices the rate is only known from measurement. With ``MIN_HOSTS`` hosts or more
the check is cross-conformal by host (CV+; Barber et al. 2021). The device is scored by each host's
regression, fitted without that host, and compared with that host's own clean segments: what differs
between them is then a device that was not trained on, on both sides. Hosts count alike, however
long each was recorded (Dunn, Wasserman and Ramdas 2022).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s, Floats
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.calibration.segments import (
    Stretches,
    deployable_statistics,
    hash_order,
)
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.summary import STATISTICS
from cis490_pipeline.features.windows import BASELINE_STEPS

LEVEL: Final = 0.05
"""Significance level: share of clean baselines flagged on devices like train's."""
MIN_REFERENCES: Final = math.ceil(1 / LEVEL) - 1
"""Minimal number of clean baselines for a p-value to reach the level."""
METHOD: Final = "conformal p-value of a logistic regression on 15 s statistics"
METHOD_BY_HOST: Final = "cross-conformal p-value by host of logistic regressions on 15 s statistics"
MIN_HOSTS: Final = 5
"""Hosts of train from which on the check is cross-conformal by host."""

_PENALTY: Final = 0.01
"""Inverse of the ridge penalty, which is strong because train may be a single host."""
_FOLDS: Final = 5
_MAX_FOLDS: Final = 10
"""Limit on regressions by host; more hosts share one that was fitted without all of them."""
_QUANTILES: Final = 50
"""References kept of each host: quantiles of its clean segments' scores."""
_FAR: Final = 8.0
_LARGEST: Final = 1e4
"""Limit on parameters and scores, which are sums of 145 terms of a few units."""
_ARRAYS: Final = ("centre", "scale", "weights", "bias", "references")


@dataclass(frozen=True, kw_only=True)
class Cleanliness:
    """Result of the check for one baseline.

    Attributes
    ----------
    score : mean log odds of infection over the baseline's segments of 15 s.
    p_value : share of train's clean baselines, including this one, with at least this score.
    suspect : whether it is flagged, p ≤ ``level``.
    level : share of clean baselines flagged on devices like train's.
    n_references : number of clean baselines of train; by host, of quantiles of its clean segments.
    check : digest of the check.
    """

    score: float
    p_value: float
    suspect: bool
    level: float
    n_references: int
    check: str
    method: str = METHOD


def lacking(train: Stretches) -> str | None:
    """Explain why no check can be fitted on these segments, or return None."""
    n_clean = len(set(train.episodes[train.clean & train.first]))
    n_infected = len(set(train.episodes[train.infected]))
    if n_clean >= MIN_REFERENCES and n_infected >= 2:
        return None
    return (
        f"{n_clean} episodes begin with a clean stretch and {n_infected} hold an infected one; "
        f"a cleanliness check takes {MIN_REFERENCES} and 2"
    )


@dataclass(frozen=True, eq=False)
class CleanlinessCheck:
    """A fitted check; see the module's docstring for its guarantees.

    Attributes
    ----------
    centre, scale : (145,) median and spread of train's statistics; by host (H, 145), as everything
        of the regression that did not see the host.
    weights : (145,) of the regression; bias : (1,). By host (H, 145) and (H,).
    references : (n,) out-of-fold scores of train's clean baselines, ascending. By host (H, 50)
        quantiles of the scores of its clean segments.
    """

    centre: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    references: Floats

    def __post_init__(self) -> None:
        """Raise CalibrationError, naming the first array that is malformed."""
        n = channel_indices(Variant.REALISTIC).size * len(STATISTICS)
        hosts = self.weights.shape[:1] if self.by_host else ()
        for name, array in self.arrays().items():
            references = (*hosts, _QUANTILES) if hosts else (array.size,)
            wanted = {"bias": hosts or (1,), "references": references}.get(name, (*hosts, n))
            if array.shape != wanted or not np.isfinite(array).all():
                raise CalibrationError(
                    f"cleanliness check: {name} must be finite and have shape {wanted}, "
                    f"got {array.shape}"
                )
        if not (self.scale > 0).all() or (np.diff(self.references) < 0).any():
            raise CalibrationError(
                "cleanliness check: scale must be positive and references ascending"
            )

    @classmethod
    def fit(cls, train: Stretches) -> Self:
        """Fit on segments of train's episodes only; CalibrationError if they are too few."""
        problem = lacking(train)
        if problem is not None:
            raise CalibrationError(problem)
        if len(set(train.hosts)) >= MIN_HOSTS:
            return cls._fit_by_host(train)
        fold = _folds(train.episodes, _FOLDS)
        compared = train.clean & train.first
        references = [
            cls._regression(train, fold != k)._scores(train.features[compared & (fold == k)])
            for k in range(_FOLDS)
        ]
        fitted = cls._regression(train, np.ones(fold.size, dtype=np.bool_))
        return replace(fitted, references=np.sort(np.concatenate(references)))

    @classmethod
    def _fit_by_host(cls, train: Stretches) -> Self:
        fold = _folds(train.hosts, _MAX_FOLDS)
        without = {int(k): cls._regression(train, fold != k) for k in np.unique(fold)}
        levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        rows = []
        for host in np.unique(train.hosts[train.clean]):
            of_host = train.hosts == host
            regression = without[int(fold[of_host][0])]
            scores = regression._scores(train.features[of_host & train.clean])
            quantiles = np.quantile(scores, levels, method="inverted_cdf")
            references = quantiles.astype(np.float64)
            rows.append(replace(regression, references=references))
        stacked = {
            name: np.stack([row.arrays()[name] for row in rows])
            for name in _ARRAYS
            if name != "bias"
        }
        return cls(**stacked, bias=np.concatenate([row.bias for row in rows]))

    @classmethod
    def _regression(cls, train: Stretches, among: npt.NDArray[np.bool_]) -> Self:
        from sklearn.linear_model import LogisticRegression

        used = among & (train.clean | train.infected)
        y = train.infected[used].astype(np.int64)
        x = train.features[used].astype(np.float64)
        known = np.where(np.isnan(x).all(axis=0), 0.0, x)
        centre = np.nanmedian(known, axis=0)
        filled = np.where(np.isnan(known), centre, known)
        spread = filled.std(axis=0)
        scale = np.where(spread > 1e-3, spread, 1.0)
        unfitted = cls(centre, scale, np.zeros(centre.size), np.zeros(1), np.zeros(0))
        if len(set(y)) < 2:
            # One fold may contain all infected segments; the rest then carries no information.
            return unfitted
        model = LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=1000)
        model.fit(unfitted._standard(x), y)
        weights, bias = (np.asarray(a, dtype=np.float64) for a in (model.coef_, model.intercept_))
        return cls(centre, scale, weights[0], bias, np.zeros(0))

    def judge(self, grid: Float32s) -> Cleanliness | None:
        """Test a baseline, (n_steps, 46) or (n_steps, 29) log1p values of at least 15 s.

        Only guest and netflow are used; None if nothing was recorded that the check has a weight
        for. CalibrationError if the baseline is shorter than 15 s.
        """
        starts = range(0, max(len(grid) - BASELINE_STEPS, 0) + 1, BASELINE_STEPS)
        features = deployable_statistics(
            np.stack([grid[start : start + BASELINE_STEPS] for start in starts])
        )
        weighted = (np.atleast_2d(self.weights) != 0).any(axis=0)
        if np.isnan(features[:, weighted]).all():
            return None
        scores = self._scores(features).mean(axis=-1, keepdims=True)
        n = self.references.size
        n_as_high = int((self.references >= scores).sum())
        p_value = (1 + n_as_high) / (n + 1)
        return Cleanliness(
            score=float(scores.mean()),
            p_value=p_value,
            suspect=p_value <= LEVEL,
            level=LEVEL,
            n_references=n,
            check=self.digest,
            method=self.method,
        )

    @property
    def by_host(self) -> bool:
        """Whether it is cross-conformal by host."""
        return self.weights.ndim == 2

    @property
    def method(self) -> str:
        """Name of the method, as records and digests carry it."""
        return METHOD_BY_HOST if self.by_host else METHOD

    def _standard(self, features: npt.NDArray[np.floating]) -> Floats:
        z = (features.astype(np.float64) - self.centre) / self.scale
        standard: Floats = np.clip(np.nan_to_num(z, nan=0.0), -_FAR, _FAR)
        return standard

    def _scores(self, features: npt.NDArray[np.floating]) -> Floats:
        """(n,) log odds of infection of each segment; by host (H, n)."""
        if self.by_host:
            hosts = zip(self.centre, self.scale, self.weights, self.bias, strict=True)
            rows = (type(self)(c, s, w, b[None], np.zeros(0)) for c, s, w, b in hosts)
            return np.stack([row._scores(features) for row in rows])
        scores: Floats = self._standard(features) @ self.weights + self.bias[0]
        return scores

    def arrays(self) -> dict[str, Floats]:
        """Return the fitted arrays by name, for a checkpoint."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.floating]]) -> Self:
        """Restore a check from ``arrays``.

        Raises
        ------
        CalibrationError
            If an array is missing, has the wrong shape, or is not finite.
        """
        if arrays.keys() != set(_ARRAYS):
            raise CalibrationError(
                f"cleanliness check: holds the arrays {sorted(arrays)[:10]}, wanted {list(_ARRAYS)}"
            )
        check = cls(*(np.asarray(arrays[name], dtype=np.float64) for name in _ARRAYS))
        check._require_use()
        return check

    def _require_use(self) -> None:
        """Raise CalibrationError for a check that could flag nothing, or is implausible."""
        for name, array in self.arrays().items():
            if np.abs(array).max(initial=0.0) > _LARGEST:
                raise CalibrationError(f"cleanliness check: {name} is beyond ±{_LARGEST:g}")
        if self.references.size < MIN_REFERENCES or not self.weights.any():
            raise CalibrationError(
                f"cleanliness check: has {self.references.size} references and "
                f"{np.count_nonzero(self.weights)} weights, wanted at least {MIN_REFERENCES} and "
                "one: it could flag nothing"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the method, its level and the fitted arrays."""
        total = hashlib.sha256(f"{self.method}\n{LEVEL}\n".encode())
        for name, array in self.arrays().items():
            total.update(f"{name} {array.size}\n".encode())
            total.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return total.hexdigest()


def _folds(groups: npt.NDArray[np.str_], most: int) -> npt.NDArray[np.int64]:
    """(n,) fold of each segment, of whole groups in hash order."""
    fold_of = {name: i % most for i, name in enumerate(sorted(set(groups), key=hash_order))}
    return np.array([fold_of[name] for name in groups], dtype=np.int64)


def checked_baselines(
    grids: GridStore, check: CleanlinessCheck | None, episode_ids: Sequence[str]
) -> dict[str, Cleanliness | None]:
    """Check the first 15 s of each episode; None without a check or recorded channels."""
    checked: dict[str, Cleanliness | None] = {}
    for episode_id in dict.fromkeys(episode_ids):
        grid = grids.grid(episode_id)[:BASELINE_STEPS]
        checked[episode_id] = check.judge(grid) if check is not None else None
    return checked
