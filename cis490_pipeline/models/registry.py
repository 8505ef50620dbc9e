"""Model registry; imports torch and XGBoost only for architectures that need them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import numpy as np

from cis490_pipeline.checkpoints.checkpoint import GOLDEN_TOLERANCE, Checkpoint
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, InputKind
from cis490_pipeline.domain.terms import Setting, member
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.models.base import BaseModel, ModelState

_CLASSES: Final[dict[Architecture, tuple[str, str]]] = {
    Architecture.GBT: ("trees.gbt", "Gbt"),
    Architecture.MLP: ("nets.mlp", "Mlp"),
    Architecture.CNN: ("nets.cnn", "Cnn"),
    Architecture.GRU: ("nets.recurrent", "Gru"),
    Architecture.LSTM: ("nets.recurrent", "Lstm"),
    Architecture.TRANSFORMER: ("nets.transformer", "Transformer"),
}


def model_class(architecture: Architecture | str) -> type[BaseModel]:
    """Return the class of an architecture.

    Raises
    ------
    ConfigError
        If it is unknown; lists the known ones.
    """
    module, name = _CLASSES[member(Architecture, architecture)]
    cls: type[BaseModel] = getattr(import_module(f"cis490_pipeline.models.{module}"), name)
    return cls


def create(
    architecture: Architecture | str,
    variant: Variant | str,
    *,
    kind: InputKind | None = None,
    seed: int,
    config: Mapping[str, Setting] | None = None,
) -> BaseModel:
    """Create an untrained model; ``config`` holds settings that differ from the defaults.

    ``kind`` is of its windows, by default the first that the architecture takes.

    Raises
    ------
    ConfigError
        If a name is unknown or a value is out of range.
    """
    cls = model_class(architecture)
    return cls(member(Variant, variant), kind=kind, seed=seed, config=config)


def restore(checkpoint: Checkpoint) -> BaseModel:
    """Restore a checkpoint's model and verify it on its golden windows.

    Raises
    ------
    CheckpointError
        If the architecture's version differs, the weights do not fit, or the model does not
        reproduce its golden windows.
    """
    current = ARCHITECTURE_VERSIONS[checkpoint.architecture]
    if checkpoint.architecture_version != current:
        raise CheckpointError(
            f"{checkpoint.name}: trained by version {checkpoint.architecture_version} of "
            f"{checkpoint.architecture}, this code is version {current}; train it again"
            + (f", or check out commit {checkpoint.commit:.7}" if checkpoint.commit else "")
        )
    settings = {name: value for name, value in checkpoint.config.items() if name != "seed"}
    try:
        model = create(
            checkpoint.architecture,
            checkpoint.variant,
            kind=checkpoint.schema.input_kind,
            seed=checkpoint.seed,
            config=settings,
        )
    except ConfigError as fault:
        raise CheckpointError(f"{checkpoint.name}: {fault}; train it again") from fault
    model.restore(ModelState(checkpoint.weights, checkpoint.booster), checkpoint.history)
    _require_golden(model, checkpoint)
    return model


def _require_golden(model: BaseModel, checkpoint: Checkpoint) -> None:
    golden = checkpoint.golden
    if not len(golden.inputs):
        raise CheckpointError(f"{checkpoint.name}: has no golden windows to check it by")
    predicted = model.predict_proba(golden.inputs)
    difference = float(np.abs(predicted - golden.probabilities).max())
    # Written so that NaN fails.
    if not difference <= GOLDEN_TOLERANCE:
        raise CheckpointError(
            f"{checkpoint.name}: its golden windows differ by {difference:.3g} in a probability, "
            f"allowed is {GOLDEN_TOLERANCE:g}; trained with {dict(checkpoint.versions)}"
        )
