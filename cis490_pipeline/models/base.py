"""Common interface of all models: input validation, fit, predict, state and restore."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.checkpoint import SavedHistory
from cis490_pipeline.domain import PHASES, Architecture, Variant
from cis490_pipeline.domain.catalogue import INPUT_KINDS, InputKind
from cis490_pipeline.domain.terms import Setting
from cis490_pipeline.errors import ConfigError, DatasetError, NotFittedError
from cis490_pipeline.features.datasets.window_data import WindowData, predict_in_batches
from cis490_pipeline.models.spec import InputSpec, input_spec
from cis490_pipeline.training.config import build_config
from cis490_pipeline.training.history import EpochListener, History

if TYPE_CHECKING:
    from cis490_pipeline.training.snapshot import Snapshots

Probabilities = npt.NDArray[np.float64]
"""(n_windows, 5), rows summing to 1, columns in the order of ``PHASES``."""


@dataclass(frozen=True)
class ModelState:
    """State of a fitted model, as stored in a checkpoint."""

    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    booster: bytes = b""
    """XGBoost's own binary format (``.ubj``); empty for a network."""


class BaseModel(ABC):
    """One model of one architecture, variant and seed.

    Parameters
    ----------
    variant : channels of the input.
    kind : of its windows; by default the first that the architecture takes.
    seed : of all randomness in training.
    config : settings that differ from the architecture's defaults, by name.

    Raises
    ------
    ConfigError
        Naming unknown settings and values out of range, or a kind the architecture does not take.

    Attributes
    ----------
    input_kind, spec : what windows it takes, and their shape.
    config : the architecture's configuration dataclass.
    classes_ : phases in the order of the probability columns; after ``fit``.
    history_ : training history as plain values; after ``fit``.
    """

    architecture: ClassVar[Architecture]
    config_type: ClassVar[type[Any]]

    classes_: tuple[str, ...]
    history_: SavedHistory

    def __init__(
        self,
        variant: Variant,
        *,
        kind: InputKind | None = None,
        seed: int = 0,
        config: Mapping[str, Setting] | None = None,
    ) -> None:
        self.variant = Variant(variant)
        kinds = INPUT_KINDS[self.architecture]
        self.input_kind = kinds[0] if kind is None else kind
        if self.input_kind not in kinds:
            raise ConfigError(
                f"{self.architecture} takes {' or '.join(kinds)} windows, got {kind!r}"
            )
        self.spec: InputSpec = input_spec(self.input_kind, self.variant)
        self.config = build_config(self.config_type, {**(config or {}), "seed": seed})
        self.seed = seed

    @property
    def is_fitted(self) -> bool:
        """Whether the model can predict."""
        return hasattr(self, "classes_")

    @property
    def settings(self) -> dict[str, Setting]:
        """Configuration as plain values."""
        return asdict(self.config)

    @property
    def n_parameters(self) -> int:
        """Number of weights of a network with these settings; 0 for trees."""
        return 0

    @final
    def fit(
        self,
        train: WindowData,
        val: WindowData,
        *,
        progress: EpochListener | None = None,
        snapshots: "Snapshots | None" = None,
    ) -> Self:
        """Fit the model on training windows; validation windows determine early stopping.

        Parameters
        ----------
        train, val : calibrated windows of the model's own shape; NaN is unknown.
        progress : called after each epoch or boosting round.
        snapshots : store for a network's state after each epoch, from which a killed training
            resumes. Trees start again: XGBoost does not resume to an identical model.

        Raises
        ------
        DatasetError
            If windows or labels do not fit the model.
        TrainingError
            If a phase has no training window or a loss is not finite.
        """
        for side, windows in (("train", train), ("val", val)):
            self._check_windows(side, windows)
        history = self._fit(train, val, progress, snapshots)
        self._finish(history.to_dict())
        return self

    @final
    def predict_proba(self, X: npt.NDArray[np.float32]) -> Probabilities:
        """Predict the probability of each phase.

        Parameters
        ----------
        X : (n_windows, *shape) float32, calibrated; NaN is unknown.

        Returns
        -------
        (n_windows, 5).

        Raises
        ------
        NotFittedError
            Before ``fit`` or ``restore``.
        DatasetError
            If the shape or type differs, or a value is infinite.
        """
        self._require_fitted()
        self._check_array(X)
        return self._predict_proba(X) if len(X) else np.zeros((0, len(PHASES)))

    @final
    def predict(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Predict the most probable phase as its index in ``PHASES``: (n_windows,)."""
        predicted: npt.NDArray[np.int64] = self.predict_proba(X).argmax(axis=1)
        return predicted

    @final
    def predict_windows(self, windows: WindowData, batch: int = 512) -> Probabilities:
        """Predict phase probabilities for a whole set in batches: (n_windows, 5)."""
        return predict_in_batches(self.predict_proba, windows, batch)

    @final
    def logits(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Compute logits, the scores before the softmax.

        Parameters
        ----------
        X : as for ``predict_proba``.

        Returns
        -------
        (n_windows, 5): outputs of a network, or margins of trees.
        """
        self._require_fitted()
        self._check_array(X)
        return self._logits(X) if len(X) else np.zeros((0, len(PHASES)))

    @final
    def state(self) -> ModelState:
        """Return the fitted state for storage.

        Raises
        ------
        NotFittedError
            Before ``fit`` or ``restore``.
        """
        self._require_fitted()
        return self._state()

    @final
    def restore(self, state: ModelState, history: SavedHistory) -> Self:
        """Load the fitted state of another model with the same configuration.

        Raises
        ------
        CheckpointError
            If the state does not fit the architecture, naming the first difference.
        """
        self._restore(state)
        self._finish(history)
        return self

    def _finish(self, history: SavedHistory) -> None:
        self.history_ = history
        self.classes_ = tuple(str(phase) for phase in PHASES)

    def _require_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFittedError(
                f"this {self.architecture} model has learnt nothing yet: call fit, or restore it "
                "from a checkpoint"
            )

    def _check_windows(self, side: str, windows: WindowData) -> None:
        if len(windows) == 0:
            raise DatasetError(f"{side} has no windows; look at the split's excluded episodes")
        if windows.shape != self.spec.shape:
            raise DatasetError(
                f"{side} windows have shape {windows.shape}, but a {self.architecture} "
                f"({self.variant}) takes {self.input_kind} windows of {self.spec.shape}"
            )
        low, high = int(windows.y.min()), int(windows.y.max())
        if low < 0 or high >= len(PHASES):
            raise DatasetError(
                f"{side} labels must be 0 to {len(PHASES) - 1}, found {low} to {high}"
            )

    def _check_array(self, X: npt.NDArray[np.float32]) -> None:
        if X.dtype != np.float32 or X.shape[1:] != self.spec.shape:
            raise DatasetError(
                f"X must be float32 of (n_windows, {', '.join(map(str, self.spec.shape))}), "
                f"got {X.dtype} of {X.shape}"
            )
        n_infinite = int(np.isinf(X).sum())
        if n_infinite:
            raise DatasetError(
                f"X holds {n_infinite} infinite values; unknown is NaN, and calibration clips "
                "the rest"
            )

    @abstractmethod
    def _fit(
        self,
        train: WindowData,
        val: WindowData,
        progress: EpochListener | None,
        snapshots: "Snapshots | None",
    ) -> History: ...

    @abstractmethod
    def _predict_proba(self, X: npt.NDArray[np.float32]) -> Probabilities: ...

    @abstractmethod
    def _logits(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]: ...

    @abstractmethod
    def _state(self) -> ModelState: ...

    @abstractmethod
    def _restore(self, state: ModelState) -> None: ...
