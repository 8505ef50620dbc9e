"""Training configuration, validated on construction and stored in every checkpoint."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from cis490_pipeline.domain.terms import Setting
from cis490_pipeline.errors import ConfigError

ConfigT = TypeVar("ConfigT")

DEVICES = ("auto", "cpu", "cuda")


def _bounds(config_type: type) -> dict[str, Meta]:
    """Bounds by field name; a class that only changes a default keeps those of its base."""
    return {
        name: meta
        for base in reversed(config_type.__mro__)
        for name, hint in inspect.get_annotations(base).items()
        for meta in getattr(hint, "__metadata__", ())
    }


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """Hyperparameters, each with the bounds of its ``Meta``.

    Raises
    ------
    ConfigError
        Naming all fields out of range.
    """

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise ConfigError(f"{type(self).__name__}: " + "; ".join(problems))

    def problems(self) -> list[str]:
        """Describe the fields out of range, sorted by name; subclasses add their own."""
        return [
            f"{name} must be between {bounds.ge:g} and {bounds.le:g}, got {getattr(self, name)!r}"
            for name, bounds in sorted(_bounds(type(self)).items())
            # Written so that NaN fails, which msgspec itself lets pass.
            if not bounds.ge <= getattr(self, name) <= bounds.le
        ]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CheckedConfig):
    """Hyperparameters of a network's training.

    The defaults were measured on simulated hosts: differences among losses were within
    seed noise, and mixup or logit adjustment on top of class weights did not help.
    """

    max_epochs: Annotated[int, Meta(ge=1, le=10_000)] = 40
    batch_size: Annotated[int, Meta(ge=2, le=65_536)] = 64
    """Windows per optimizer step; see ``epoch_steps`` for large data."""
    peak_lr: Annotated[float, Meta(ge=1e-8, le=10.0)] = 2e-3
    """Learning rate at the end of the warm-up."""
    weight_decay: Annotated[float, Meta(ge=0.0, le=10.0)] = 2e-2
    """AdamW's decay, on matrices only: decaying a norm's gain or a bias has no purpose."""
    warmup_fraction: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.1
    """Share of all optimizer steps that warms up; the rest follows a cosine to zero."""
    patience_epochs: Annotated[int, Meta(ge=1, le=10_000)] = 8
    """Epochs without a better validation macro F1 before stopping."""
    patience_steps: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    """Optimizer steps without a better validation macro F1 before stopping, in place of
    ``patience_epochs``, whose meaning changes with the length of an epoch; 0: by epochs."""
    epoch_windows: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    """Most windows in an epoch, so that large data are validated on more often than once a pass;
    consecutive epochs go through all windows before one repeats. 0: all windows in every epoch."""
    epoch_steps: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    """Most optimizer steps in an epoch: where there would be more, batches are made larger, and the
    learning rate with them (``training.schedule.scaled``). 0: ``batch_size`` as it is."""
    ema_decay: Annotated[float, Meta(ge=0.0, le=0.999999)] = 0.99
    """Decay per step of the averaged weights, which are validated and kept."""
    clip_norm: Annotated[float, Meta(ge=1e-6, le=1e6)] = 1.0
    """Largest norm of the gradient."""
    label_smoothing: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.05
    class_weight_power: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.5
    """Class weights are the inverse frequency to this power; 0 turns them off."""
    source_dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.1
    """Probability of masking a whole source in a window, to tolerate a dead agent."""
    channel_dropout: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    """Probability of masking a channel in a window, to tolerate recorders that lack it."""
    scale_jitter: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    """SD of the log of a random factor per channel and window, to mimic device differences."""
    shift_jitter: Annotated[float, Meta(ge=0.0, le=4.0)] = 0.0
    """SD of a random offset per channel and window, calibrated units, to mimic baseline errors."""
    block_episodes: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    """Episodes whose windows are shuffled together: runs of neighbours on disk, so that reads of a
    large corpus stay sequential; 42 MB of grid at 90 s per episode."""
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Threads of torch; affects the result, as sums in another order round differently."""
    device: str = "cpu"
    """``cpu``, ``cuda`` (mixed precision), or ``auto``: CUDA where there is one."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    def problems(self) -> list[str]:
        """Describe the fields out of range."""
        problems = super().problems()
        if self.device not in DEVICES:
            problems.append(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        # Of fewer, an epoch can be left with one window, over which BatchNorm has no variance.
        if 0 < self.epoch_windows < 4:
            problems.append(f"epoch_windows must be 0 or at least 4, got {self.epoch_windows}")
        return problems


def build_config(config_type: type[ConfigT], values: Mapping[str, Setting]) -> ConfigT:
    """Build a configuration from names and values of a command line or a checkpoint.

    Parameters
    ----------
    config_type : a configuration dataclass; ``values`` may leave out any of its fields.
    values : field name -> value of the default's type; a JSON list stands for a tuple,
        and a whole number for a float.

    Raises
    ------
    ConfigError
        Naming every unknown field, wrong type, and (from the dataclass) value out of range.
    """
    types = get_type_hints(config_type)
    unknown = sorted(set(values) - set(types))
    problems = [f"unknown setting {name!r}" for name in unknown]
    if unknown:
        problems.append("known are " + ", ".join(sorted(types)))
    checked = {}
    for name in sorted(values.keys() & types.keys()):
        try:
            checked[name] = msgspec.convert(values[name], types[name])
        except msgspec.ValidationError:
            problems.append(f"{name} must be of type {_shown(types[name])}, got {values[name]!r}")
    if problems:
        raise ConfigError(f"{config_type.__name__}: " + "; ".join(problems))
    return config_type(**checked)


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
