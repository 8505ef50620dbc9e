"""Gradient-boosted trees on summary features (XGBoost, histogram method)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb
from msgspec import Meta

from cis490_pipeline.domain import PHASES, Architecture
from cis490_pipeline.errors import CheckpointError, TrainingError
from cis490_pipeline.evaluation.confusion import confusion, macro_f1
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.models.base import BaseModel, ModelState, Probabilities
from cis490_pipeline.models.trees.booster_check import require_sound_booster
from cis490_pipeline.models.trees.gbt_data import WindowBatches, pages_folder
from cis490_pipeline.training.balance import class_weights
from cis490_pipeline.training.batches import is_held
from cis490_pipeline.training.config import CheckedConfig
from cis490_pipeline.training.history import EpochListener, EpochRecord, History

if TYPE_CHECKING:
    from cis490_pipeline.training.snapshot import Snapshots


@dataclass(frozen=True, kw_only=True)
class GbtConfig(CheckedConfig):
    """Hyperparameters of the trees; a round is one tree per phase."""

    max_rounds: Annotated[int, Meta(ge=1, le=100_000)] = 1500
    patience_rounds: Annotated[int, Meta(ge=1, le=100_000)] = 40
    """Rounds without a lower validation log loss before stopping."""
    eta: Annotated[float, Meta(ge=1e-4, le=1.0)] = 0.06
    """Learning rate: share of each tree's output that is added."""
    max_depth: Annotated[int, Meta(ge=1, le=16)] = 5
    min_child_weight: Annotated[float, Meta(ge=0.0, le=1e6)] = 2.0
    subsample: Annotated[float, Meta(ge=0.05, le=1.0)] = 0.8
    """Share of the windows used in each round."""
    colsample_bynode: Annotated[float, Meta(ge=0.01, le=1.0)] = 0.3
    """Share of the features considered at each split."""
    class_weight_power: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.5
    """Class weights are the inverse frequency to this power; 0 turns them off."""
    source_dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.1
    """Share of the windows repeated with a masked source, per source."""
    channel_dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    """Probability of masking a channel in a repeated window. Where there is but one source, never
    masked itself, windows are repeated for this alone."""
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


class Gbt(BaseModel):
    """Gradient-boosted trees.

    Notes
    -----
    XGBoost keeps one byte per value, the feature's histogram bin. For sets larger than
    ``features.datasets.window_data.IN_MEMORY_BYTES``, these bytes are stored in pages on disk,
    which every level of every tree reads: the same trees, but slower. Labels, weights, gradients
    and margins stay in memory, about 100 bytes per window. In all comparisons the trees were equal
    to the byte; XGBoost guarantees equality only up to rounding.
    """

    architecture = Architecture.GBT
    config_type = GbtConfig
    config: GbtConfig
    booster_: xgb.Booster

    def _fit(
        self,
        train: WindowData,
        val: WindowData,
        progress: EpochListener | None,
        snapshots: "Snapshots | None",
    ) -> History:
        weights = class_weights(train.y, self.config.class_weight_power)
        if is_held(train) and is_held(val):
            return self._boost(train, val, weights, progress, None)
        with pages_folder(None if snapshots is None else snapshots.path) as pages:
            return self._boost(train, val, weights, progress, pages)

    def _boost(
        self,
        train: WindowData,
        val: WindowData,
        weights: npt.NDArray[np.float64],
        progress: EpochListener | None,
        pages: Path | None,
    ) -> History:
        config = self.config
        paged = {side: pages / side if pages else None for side in ("train", "val")}
        train_matrix = WindowBatches(
            train,
            weights,
            sources=self.spec.source_columns,
            columns_per_channel=self.spec.columns_per_channel,
            source_dropout=config.source_dropout,
            channel_dropout=config.channel_dropout,
            seed=config.seed,
            pages=paged["train"],
        ).matrix(None, threads=config.threads)
        val_batches = WindowBatches(val, weights, pages=paged["val"])
        val_matrix = val_batches.matrix(train_matrix, threads=config.threads)
        recorder = _Recorder(progress, self.config.eta)
        booster = xgb.train(
            self._parameters(),
            train_matrix,
            num_boost_round=self.config.max_rounds,
            evals=[(train_matrix, "train"), (val_matrix, "val")],
            custom_metric=_macro_f1_of(val_matrix),
            callbacks=[
                recorder,
                xgb.callback.EarlyStopping(
                    rounds=self.config.patience_rounds, metric_name="mlogloss", data_name="val"
                ),
            ],
            verbose_eval=False,
        )
        n_rounds = booster.best_iteration + 1
        # Early stopping keeps the later trees; slicing drops them, so that inference does not
        # need the best iteration.
        self.booster_ = booster[:n_rounds]
        return History(
            epochs=tuple(recorder.records),
            best_epoch=n_rounds,
            best_val_macro_f1=recorder.records[n_rounds - 1].val_macro_f1,
            stopped_early=len(recorder.records) < self.config.max_rounds,
            n_steps=n_rounds,
            n_train_windows=len(train),
            n_val_windows=len(val),
            threads=self.config.threads,
            device="cpu",
        )

    def _parameters(self) -> dict[str, float | int | str]:
        config = self.config
        own = ("eta", "max_depth", "min_child_weight", "subsample", "colsample_bynode", "seed")
        return {
            "objective": "multi:softprob",
            "eval_metric": "mlogloss",
            "num_class": len(PHASES),
            "tree_method": "hist",
            "nthread": config.threads,
            "verbosity": 0,
            **{name: getattr(config, name) for name in own},
        }

    def _predict_proba(self, X: npt.NDArray[np.float32]) -> Probabilities:
        probabilities = self.booster_.inplace_predict(X, missing=np.nan).astype(np.float64)
        normalized: Probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        return normalized

    def _logits(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        margins = self.booster_.inplace_predict(X, missing=np.nan, predict_type="margin")
        logits: npt.NDArray[np.float64] = margins.astype(np.float64)
        return logits

    def _state(self) -> ModelState:
        return ModelState(booster=bytes(self.booster_.save_raw("ubj")))

    def _restore(self, state: ModelState) -> None:
        require_sound_booster(state.booster, n_features=self.spec.n_columns)
        booster = xgb.Booster({"nthread": self.config.threads, "verbosity": 0})
        try:
            booster.load_model(bytearray(state.booster))
        except xgb.core.XGBoostError as fault:
            reason = str(fault).strip().splitlines()[-1] if str(fault).strip() else "unreadable"
            raise CheckpointError(f"model.ubj is no XGBoost model: {reason}") from fault
        self.booster_ = booster


class _Recorder(xgb.callback.TrainingCallback):
    """Records each round's losses and reports progress."""

    def __init__(self, progress: EpochListener | None, eta: float) -> None:
        super().__init__()
        self.progress, self.eta = progress, eta
        self.records: list[EpochRecord] = []

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        """Record one round; False continues training."""
        record = EpochRecord(
            epoch=epoch + 1,
            train_loss=float(evals_log["train"]["mlogloss"][-1]),
            val_loss=float(evals_log["val"]["mlogloss"][-1]),
            val_macro_f1=float(evals_log["val"]["macro_f1"][-1]),
            lr=self.eta,
        )
        if not np.isfinite(record.train_loss):
            raise TrainingError(
                f"training loss of round {record.epoch} is {record.train_loss}; "
                "look for extreme values in the features"
            )
        self.records.append(record)
        if self.progress is not None:
            self.progress(record)
        return False


def _macro_f1_of(val_matrix: xgb.DMatrix) -> Callable[[Any, xgb.DMatrix], tuple[str, float]]:
    """Build an XGBoost metric: macro F1 on the validation windows, NaN on others."""
    y_val = val_matrix.get_label().astype(np.int64)

    def metric(predicted: npt.NDArray[np.float32], matrix: xgb.DMatrix) -> tuple[str, float]:
        if matrix is not val_matrix:
            return "macro_f1", float("nan")
        chosen = predicted.reshape(len(y_val), -1).argmax(axis=1)
        return "macro_f1", macro_f1(confusion(y_val, chosen))

    return metric
