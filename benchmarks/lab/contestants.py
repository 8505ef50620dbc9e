"""Contestants on `data/lab`: models on either kind of features, peers, parts of the history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from benchmarks.contest import MODELS, Arrangement, fitted, run
from benchmarks.host_sides import Sides
from benchmarks.kept import Arrays, Kept
from benchmarks.model_peers import PEERS
from cis490_pipeline.domain import Architecture
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, InputKind, input_kind
from cis490_pipeline.features import history
from cis490_pipeline.features.columns import CALIBRATED
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.models.spec import InputSpec, input_spec
from cis490_pipeline.models.trees.gbt import Gbt

CHANNEL_DROPOUT: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model or peer, what it reads and its settings."""

    of: str
    """Architecture or peer."""
    kind: InputKind
    config: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    """Columns of each channel that trees see; None is all of the kind."""

    def run(self, kept: Kept, arrangement: Arrangement, seed: int) -> Arrays:
        """Train and test on one arrangement, unless that was done before."""
        if self.columns is None:
            return run(kept, arrangement, self.of, seed, self.config, self.kind)
        what = {
            "arrangement": arrangement.name,
            "variant": str(arrangement.variant),
            "columns": list(self.columns),
            "version": ARCHITECTURE_VERSIONS[Architecture.GBT],
            "seed": seed,
            "config": dict(self.config),
            "features": feature_schema(self.kind, arrangement.variant).hash,
        }
        return kept.get(what, lambda: self._narrow(arrangement, seed))

    def _narrow(self, arrangement: Arrangement, seed: int) -> Arrays:
        assert self.columns is not None
        model = Gbt(arrangement.variant, kind="history", seed=seed, config=self.config)
        spec = input_spec("history", arrangement.variant)
        model.spec = NarrowSpec(**{**vars(spec), "n_kept": len(self.columns)})
        if self.kind == "tensor":
            sides = _each_side(arrangement.sides("tensor"), log_bins)
        else:
            places = [CALIBRATED["history"].index(name) for name in self.columns]
            sides = _each_side(
                arrangement.sides("history"), lambda X: _columns(X, spec.n_channels, places)
            )
        return fitted(model, sides, arrangement.variant, seed)


@dataclass(frozen=True, kw_only=True)
class NarrowSpec(InputSpec):
    """Rows of some columns of each channel."""

    n_kept: int

    @property
    def columns_per_channel(self) -> int:
        """Columns kept of each channel."""
        return self.n_kept

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window."""
        return (self.n_channels * self.n_kept,)


def log_bins(X: Any) -> Any:
    """Means of the known steps of each fifth of calibrated log1p tensors: (n, n_channels × 5)."""
    bins = X.reshape(*X.shape[:2], history.N_BINS, -1)
    known = ~np.isnan(bins)
    count = known.sum(axis=3)
    total = np.where(known, bins, 0.0).sum(axis=3)
    means = total / np.where(count > 0, count, np.nan)
    return means.reshape(len(X), -1).astype(np.float32)


def _columns(X: Any, n_channels: int, places: list[int]) -> Any:
    return np.ascontiguousarray(X.reshape(len(X), n_channels, -1)[:, :, places]).reshape(len(X), -1)


def _each_side(sides: Sides, change: Callable[[Any], Any]) -> Sides:
    def changed(windows: ArrayWindows) -> ArrayWindows:
        return replace(windows, X=change(windows.X))

    return replace(
        sides, train=changed(sides.train), val=changed(sides.val), test=changed(sides.test)
    )


def models(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Contestant]:
    """Return the six architectures, those of features on either kind."""
    found = {}
    for name in MODELS:
        config = settings.get(name, {})
        kinds = ("summary", "history") if input_kind(Architecture(name)) != "tensor" else ("",)
        for kind in kinds:
            row = f"{name}_{kind}" if kind else name
            found[row] = Contestant(of=name, kind=kind or "tensor", config=config)
    return found


def peers() -> dict[str, Contestant]:
    """Return the peers as their users run them, those of features on either kind."""
    found = {}
    for name, peer in PEERS.items():
        kinds: tuple[InputKind, ...] = (peer.input_kind,)
        if peer.input_kind == "summary":
            kinds = ("summary", "history")
        for kind in kinds:
            row = name if kind == "tensor" else f"{name}_{kind}"
            found[row] = Contestant(of=name, kind=kind)
    return found


_LAG_COLUMNS: Final = (*history.LAGS, *history.CHANGES)
_STATISTICS: Final = CALIBRATED["summary"]


def ablation(settings: Mapping[str, Any]) -> dict[str, Contestant]:
    """Return the trees on parts of the history: units, bins, lags and channel dropout apart."""

    def trees(*columns: str, kind: InputKind = "history", **more: Any) -> Contestant:
        return Contestant(of="gbt", kind=kind, config={**settings, **more}, columns=columns)

    whole = CALIBRATED["history"]
    rows = {
        "statistics": trees(*_STATISTICS),
        "bins, log units": trees(*history.BINS, kind="tensor"),
        "bins, linear units": trees(*history.BINS),
        "lags": trees(*_LAG_COLUMNS),
        "bins and lags": trees(*history.BINS, *_LAG_COLUMNS),
        "statistics and bins": trees(*_STATISTICS, *history.BINS),
        "statistics and lags": trees(*_STATISTICS, *_LAG_COLUMNS),
        "all": trees(*whole),
    }
    if "channel_dropout" not in settings:
        rows["all, channel dropout"] = trees(*whole, channel_dropout=CHANNEL_DROPOUT)
    else:
        rows["all, no channel dropout"] = trees(*whole, channel_dropout=0.0)
    return rows
