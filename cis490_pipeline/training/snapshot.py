"""Training snapshots: the state after an epoch on disk, from which a killed training resumes.

One safetensors file with the plain values as JSON in a single metadata key, because safetensors
does not order several keys; nothing is pickled. A digest of the configuration, the windows and
everything else that the result depends on ties a snapshot to its training.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self, TypedDict

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from cis490_pipeline.checkpoints.checkpoint import SavedEpoch, arrays_digest
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.storage.files import atomic_write, digest
from cis490_pipeline.storage.json_text import Json, decode_json
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.history import EpochRecord

FORMAT_VERSION: Final = 2
_PLAIN: Final = "training"
_PIECE_WINDOWS: Final = 16_384

Tensors = dict[str, torch.Tensor]


class PlainValues(TypedDict):
    """Counters, the best score, and states of optimizer, scheduler and gradient scaler."""

    best_epoch: int
    best_n_steps: int
    best_macro_f1: float | None
    n_steps: int
    n_updates: int
    groups: list[dict[str, Json]]
    scheduler: dict[str, Json]
    scaler: dict[str, Json]


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """All state other than tensors."""

    format_version: int
    identity: str
    tensors_sha256: str
    values: PlainValues
    epochs: list[SavedEpoch]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Complete state that later epochs depend on, and the history so far."""

    tensors: Tensors
    """Tensors by name, such as ``network/head.weight`` or ``optimizer/3/exp_avg``."""
    values: PlainValues
    epochs: tuple[EpochRecord, ...]


@dataclass
class Snapshots:
    """Storage for the state of a training after each epoch.

    Attributes
    ----------
    path : the file, replaced after each epoch. The caller removes it once the result is stored.
    about : digests of further inputs, such as the dataset; a snapshot with others is ignored.
    resumed_epoch : epoch the training resumed from; 0 if it started from scratch.
    """

    path: Path
    about: Mapping[str, str] = field(default_factory=dict)
    resumed_epoch: int = 0

    def save(self, identity: str, state: TrainingState) -> None:
        """Replace the snapshot atomically."""
        tensors = {n: v.detach().cpu().contiguous() for n, v in state.tensors.items()}
        plain = _Plain(
            format_version=FORMAT_VERSION,
            identity=identity,
            tensors_sha256=_tensors_digest(tensors),
            values=state.values,
            epochs=[record.to_dict() for record in state.epochs],
        )
        content = safetensors_bytes(
            tensors, metadata={_PLAIN: msgspec.json.encode(plain, order="sorted").decode()}
        )
        atomic_write(self.path, lambda file: file.write(content))

    def load(self, identity: str) -> TrainingState | None:
        """Load the last state, or None if there is none of this training.

        A file that is damaged or of another training or version is ignored: the training starts
        from scratch and replaces it.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                plain = decode_json((file.metadata() or {}).get(_PLAIN, ""), _Plain)
                if (plain.format_version, plain.identity) != (FORMAT_VERSION, identity):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            epochs = tuple(_record(record) for record in plain.epochs)
            if _tensors_digest(tensors) != plain.tensors_sha256:
                return None
        except (OSError, SafetensorError, msgspec.DecodeError, TypeError):
            return None
        self.resumed_epoch = len(epochs)
        return TrainingState(tensors=tensors, values=plain.values, epochs=epochs)


def training_identity(
    config: TrainConfig,
    train: WindowData,
    val: WindowData | None,
    network: torch.nn.Module,
    about: Mapping[str, str],
) -> str:
    """Digest of everything that determines the result of a training.

    The readings themselves are not hashed: `about` identifies their dataset.
    """
    return digest(
        {
            "about": dict(about),
            "config": asdict(config),
            "torch": torch.__version__,
            "network": {
                name: [str(value.dtype), *value.shape]
                for name, value in network.state_dict().items()
            },
            "windows": [_windows_digest(side) for side in (train, val) if side is not None],
        }
    )


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Tensors whose names begin with ``prefix/``, without it."""
    start = f"{prefix}/"
    return {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}


@dataclass(frozen=True)
class OptimizerState:
    """Optimizer state, separated into tensors and plain values."""

    tensors: Tensors
    groups: list[dict[str, Json]]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer) -> Self:
        """Separate an optimizer's state."""
        state = optimizer.state_dict()
        tensors = {
            f"{parameter}/{name}": value
            for parameter, values in state["state"].items()
            for name, value in values.items()
        }
        return cls(tensors, state["param_groups"])

    def into(self, optimizer: torch.optim.Optimizer) -> None:
        """Load the state into an optimizer."""
        state: dict[int, Tensors] = {}
        for name, value in self.tensors.items():
            parameter, _, what = name.partition("/")
            state.setdefault(int(parameter), {})[what] = value
        optimizer.load_state_dict({"state": state, "param_groups": self.groups})


def _tensors_digest(tensors: Tensors) -> str:
    return arrays_digest({name: value.numpy() for name, value in tensors.items()}).hex()


def _windows_digest(windows: WindowData) -> list[str]:
    labels = hashlib.sha256(windows.y.astype("<i8").tobytes()).hexdigest()
    groups, ids, numbers = hashlib.sha256(), windows.episode_ids, windows.episode_numbers
    # In chunks: the ids of all windows would need more memory than the window keys.
    for start in range(0, len(numbers), _PIECE_WINDOWS):
        lines = "\n".join([ids[number] for number in numbers[start : start + _PIECE_WINDOWS]])
        groups.update(("\n" if start else "").encode() + lines.encode())
    return [str(windows.shape), labels, groups.hexdigest()]


def _record(plain: SavedEpoch) -> EpochRecord:
    values = {n: math.nan if v is None else v for n, v in plain.items()}
    return msgspec.convert(values, EpochRecord)
