"""How one network is trained, checked at birth and written into every checkpoint."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cis490_pipeline.errors import ConfigError

ConfigT = TypeVar("ConfigT")

DEVICES = ("auto", "cpu", "cuda")


def out_of_range(config: object, bounds: Mapping[str, tuple[float, float]]) -> list[str]:
    """Sentences on the fields of ``config`` that are not within their bounds, sorted by name.

    Parameters
    ----------
    config : a configuration dataclass.
    bounds : field name -> (lowest, highest) allowed, both included; NaN is never within.
    """
    return [
        f"{name} must be between {low:g} and {high:g}, got {getattr(config, name)!r}"
        for name, (low, high) in sorted(bounds.items())
        # Written so that NaN fails: `x < low or x > high` would let it pass.
        if not low <= getattr(config, name) <= high
    ]


def raise_problems(config: object, problems: list[str]) -> None:
    """Refuse a configuration, naming every problem at once.

    Raises
    ------
    ConfigError
        If there is a problem.
    """
    if problems:
        raise ConfigError(f"{type(config).__name__}: " + "; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one network is trained.

    Defaults are the recipe measured on simulated hosts: differences among losses were within
    seed noise, and mixup or logit adjustment on top of class weights did not help.
    """

    max_epochs: int = 40
    batch_size: int = 64
    """Windows per optimizer step."""
    peak_lr: float = 2e-3
    """Learning rate at the end of the warm-up."""
    weight_decay: float = 2e-2
    """AdamW's decay, on matrices only: decaying a norm's gain or a bias has no purpose."""
    warmup_fraction: float = 0.1
    """Share of all optimizer steps that warms up; the rest follows a cosine to zero."""
    patience_epochs: int = 8
    """Epochs without a better validation macro F1 before stopping."""
    ema_decay: float = 0.99
    """Decay per step of the averaged weights, which are validated and kept."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    label_smoothing: float = 0.05
    class_weight_power: float = 0.5
    """Class weights are the inverse frequency to this power; 0 turns them off."""
    source_dropout: float = 0.1
    """Chance that a window loses a whole source, so that a dead agent is no surprise."""
    scale_jitter: float = 0.0
    """SD of the log factor that each channel of a window is multiplied by: devices differ in it."""
    shift_jitter: float = 0.0
    """SD of what is added to each channel of a window, in calibrated units: baselines err by it."""
    block_episodes: int = 256
    """Episodes whose windows are shuffled among each other: in runs of neighbours on disk, so that
    a large corpus is read in few places; 42 MB of grid at 90 s an episode."""
    threads: int = 1
    """Threads of torch; part of the result, as sums in another order round differently."""
    device: str = "cpu"
    """``cpu``, ``cuda`` (mixed precision), or ``auto``: CUDA where there is one."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises
        ------
        ConfigError
            Naming all fields out of range.
        """
        raise_problems(self, self.problems())

    def problems(self) -> list[str]:
        """Sentences on fields out of range; subclasses add their own."""
        problems = out_of_range(
            self,
            {
                "max_epochs": (1, 10_000),
                "batch_size": (2, 65_536),
                "peak_lr": (1e-8, 10.0),
                "weight_decay": (0.0, 10.0),
                "warmup_fraction": (0.0, 0.9),
                "patience_epochs": (1, 10_000),
                "ema_decay": (0.0, 0.999999),
                "clip_norm": (1e-6, 1e6),
                "label_smoothing": (0.0, 0.5),
                "class_weight_power": (0.0, 2.0),
                "source_dropout": (0.0, 0.9),
                "scale_jitter": (0.0, 2.0),
                "shift_jitter": (0.0, 4.0),
                "block_episodes": (1, 1_000_000),
                "threads": (1, 1024),
                "seed": (0, 2**63 - 1),
            },
        )
        if self.device not in DEVICES:
            problems.append(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        return problems


def build_config(config_type: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Make a configuration from names and values, as a command line or a checkpoint gives them.

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
    defaults = {f.name: f.default for f in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(defaults))
    problems = [f"unknown setting {name!r}" for name in unknown]
    if unknown:
        problems.append("known are " + ", ".join(sorted(defaults)))
    checked: dict[str, Any] = {}
    for name, value in sorted(values.items()):
        if name not in defaults:
            continue
        found = _as_type_of(defaults[name], value)
        if found is None:
            wanted = type(defaults[name]).__name__
            problems.append(f"{name} must be of type {wanted}, got {value!r}")
        else:
            checked[name] = found
    if problems:
        raise ConfigError(f"{config_type.__name__}: " + "; ".join(problems))
    return config_type(**checked)


def _as_type_of(default: Any, value: Any) -> Any:
    """Return ``value`` as the default's type, or None if it is of another."""
    # bool is an int to Python; a flag where a number belongs is a mistake all the same.
    if isinstance(default, bool) or isinstance(value, bool):
        return value if type(value) is type(default) else None
    if isinstance(default, float):
        is_number = isinstance(value, int | float) and math.isfinite(value)
        return float(value) if is_number else None
    if isinstance(default, tuple):
        is_row = isinstance(value, list | tuple) and len(value) > 0
        parts = [_as_type_of(default[0], part) for part in value] if is_row else [None]
        return None if None in parts else tuple(parts)
    return value if isinstance(value, type(default)) else None
