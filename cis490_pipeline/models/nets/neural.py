"""Common base of the five networks: construction, training and conversion to numpy."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cis490_pipeline.errors import CheckpointError
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.models.base import BaseModel, ModelState, Probabilities
from cis490_pipeline.models.nets.layers import PhaseNetwork
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.history import EpochListener, History
from cis490_pipeline.training.loop import reproducible, train_network
from cis490_pipeline.training.snapshot import Snapshots


@dataclass(frozen=True, kw_only=True)
class TensorTrainConfig(TrainConfig):
    """Training configuration of networks on tensors."""

    shift_jitter: float = 0.6
    """The most effective setting on unseen hosts; see docs/decisions.md."""


class NeuralModel(BaseModel):
    """A model that is a torch network."""

    config: TrainConfig
    network_: PhaseNetwork

    @abstractmethod
    def _build(self) -> PhaseNetwork:
        """Build a network with random weights."""

    @property
    def n_parameters(self) -> int:
        """Number of weights of a network with these settings."""
        with reproducible(seed=self.config.seed, threads=self.config.threads):
            return sum(weight.numel() for weight in self._build().parameters())

    def _prepare(self, network: PhaseNetwork, train: WindowData) -> None:
        """Set buffers computed from the training windows; none by default."""

    def _fit(
        self,
        train: WindowData,
        val: WindowData,
        progress: EpochListener | None,
        snapshots: Snapshots | None,
    ) -> History:
        with reproducible(seed=self.config.seed, threads=self.config.threads):
            network = self._build()
        self._prepare(network, train)
        history = train_network(
            network,
            train,
            val,
            self.config,
            sources=self.spec.source_columns,
            columns_per_channel=self.spec.columns_per_channel,
            progress=progress,
            snapshots=snapshots,
        )
        self.network_ = network
        return history

    def _predict_proba(self, X: npt.NDArray[np.float32]) -> Probabilities:
        probabilities: Probabilities = torch.softmax(self._outputs(X), dim=1).numpy()
        return probabilities

    def _logits(self, X: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        logits: npt.NDArray[np.float64] = self._outputs(X).numpy()
        return logits

    @torch.inference_mode()
    def _outputs(self, X: npt.NDArray[np.float32]) -> torch.Tensor:
        """Logits in float64, so that rows of probabilities sum to 1 far within any tolerance."""
        # torch would warn about a read-only memory map.
        windows = torch.from_numpy(X if X.flags.writeable else X.copy())
        outputs: torch.Tensor = self.network_(windows).double()
        return outputs

    def _state(self) -> ModelState:
        state = self.network_.state_dict()
        return ModelState(arrays={name: value.numpy().copy() for name, value in state.items()})

    def _restore(self, state: ModelState) -> None:
        with reproducible(seed=self.config.seed, threads=self.config.threads):
            network = self._build()
        wanted = network.state_dict()
        for name in sorted(wanted.keys() | state.arrays.keys()):
            have = _form(state.arrays.get(name))
            want = _form(wanted[name].numpy() if name in wanted else None)
            if have != want:
                raise CheckpointError(
                    f"weights do not fit a {self.architecture} ({self.variant}): tensor {name!r} "
                    f"is {have}, wanted {want}; retrain, or check out the commit that made them"
                )
        network.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in state.arrays.items()}
        )
        self.network_ = network.eval()


def _form(array: npt.NDArray[Any] | None) -> str:
    return "none" if array is None else f"{array.dtype} {array.shape}"
