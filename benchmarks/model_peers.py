"""Well-kept peers behind one small interface: fit on windows, predict classes.

Every peer keeps its library's own defaults but for what is written here. Like the project's
models, peers see an unknown reading as its channel's usual value (zero, once calibrated); XGBoost
takes it as unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

XGBOOST_ROUNDS = 1000
XGBOOST_PATIENCE = 30
XGBOOST_UNWATCHED = 200
FOREST_TREES = 500


class Peer(Protocol):
    """A classifier of windows."""

    def fit(self, X: Floats, y: Classes, X_val: Floats | None, y_val: Classes | None) -> None:
        """Learn; only what stops early reads the validation windows."""
        ...

    def predict(self, X: Floats) -> Classes:
        """Class of each window: (n_windows,)."""
        ...


@dataclass
class ByEstimator:
    """A peer with scikit-learn's interface."""

    estimator: Any

    def fit(self, X: Floats, y: Classes, X_val: Floats | None, y_val: Classes | None) -> None:
        """Learn from the training windows alone."""
        self.estimator.fit(_filled(X), y)

    def predict(self, X: Floats) -> Classes:
        """Class of each window: (n_windows,)."""
        return np.asarray(self.estimator.predict(_filled(X)), dtype=np.int64)


@dataclass
class ByXgboost:
    """Boosted trees, classes weighed alike; with validation windows they stop early."""

    seed: int
    max_rounds: int = XGBOOST_ROUNDS

    def fit(self, X: Floats, y: Classes, X_val: Floats | None, y_val: Classes | None) -> None:
        """Learn until the validation log loss stops falling, or all rounds without any."""
        import xgboost
        from sklearn.utils.class_weight import compute_sample_weight

        watched = X_val is not None and y_val is not None
        self.model = xgboost.XGBClassifier(
            n_estimators=self.max_rounds if watched else XGBOOST_UNWATCHED,
            early_stopping_rounds=XGBOOST_PATIENCE if watched else None,
            learning_rate=0.1,
            # Defaults look at every column in every split, which few windows punish.
            subsample=0.8,
            colsample_bynode=0.3,
            eval_metric="mlogloss",
            n_jobs=1,
            random_state=self.seed,
        )
        self.model.fit(
            X,
            y,
            sample_weight=compute_sample_weight("balanced", y),
            eval_set=[(X_val, y_val)] if watched else None,
            verbose=False,
        )

    def predict(self, X: Floats) -> Classes:
        """Class of each window: (n_windows,)."""
        return np.asarray(self.model.predict(X), dtype=np.int64)


@dataclass(frozen=True)
class PeerKind:
    """One peer: what it reads and how it is made."""

    title: str
    input_kind: Literal["summary", "tensor"]
    make: Callable[[int], Peer]
    """From a seed."""


def _minirocket(seed: int) -> Peer:
    from aeon.classification.convolution_based import MiniRocketClassifier

    return ByEstimator(MiniRocketClassifier(class_weight="balanced", random_state=seed))


def _multirocket_hydra(seed: int) -> Peer:
    from aeon.classification.convolution_based import MultiRocketHydraClassifier

    return ByEstimator(MultiRocketHydraClassifier(class_weight="balanced", random_state=seed))


def _quant(seed: int) -> Peer:
    from aeon.classification.interval_based import QUANTClassifier

    return ByEstimator(QUANTClassifier(class_weight="balanced", random_state=seed))


def _extra_trees(seed: int) -> Peer:
    from sklearn.ensemble import ExtraTreesClassifier

    return ByEstimator(
        ExtraTreesClassifier(
            FOREST_TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed
        )
    )


PEERS: Mapping[str, PeerKind] = {
    "minirocket": PeerKind("MiniRocket + ridge", "tensor", _minirocket),
    "multirocket_hydra": PeerKind("MultiRocketHydra", "tensor", _multirocket_hydra),
    "quant": PeerKind("QUANT", "tensor", _quant),
    "extra_trees": PeerKind("ExtraTrees, summaries", "summary", _extra_trees),
    "xgboost": PeerKind("XGBoost, summaries", "summary", ByXgboost),
}


def _filled(X: Floats) -> Floats:
    return np.nan_to_num(X, nan=0.0)
