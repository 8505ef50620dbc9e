"""The probes of a recipe: what they read of its datasets, in bounded memory, and predict."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Recipe, Side, Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.domain.catalogue import FlatKind, InputKind
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.evaluation.probes import learn
from cis490_pipeline.evaluation.probes.decision_stump import fit_threshold, threshold_probe
from cis490_pipeline.evaluation.schema.board import ProbeTraining
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, TensorShards
from cis490_pipeline.experiment.pipeline.training import CALIBRATION, models_calibrator
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.drifting_gauges import drifting_channels
from cis490_pipeline.features.columns import calibrated_columns
from cis490_pipeline.features.datasets.load import load_windows, window_keys
from cis490_pipeline.features.datasets.opened import OpenDataset
from cis490_pipeline.features.datasets.raw_windows import open_windows
from cis490_pipeline.features.summary import STATISTICS, summary_columns, summary_names

VARIANT: Final = Variant.REALISTIC
"""What a device has: a shortcut that only the lab's channels offer is none for it."""

MAX_TRAIN_EPISODES: Final = 2000
MAX_TRAIN_WINDOWS: Final = 40_000
"""So many, drawn by the seed, where train has more: 23 MB of summaries, minutes of trees."""

SIDES: Final = (Side.VAL, Side.TEST)
_BATCH: Final = 4096
_TENSOR_BATCH: Final = 512


class RecipeProbes:
    """The probes of one recipe; everything they learn, they learn from train."""

    def __init__(self, workspace: Workspace, recipe: Recipe) -> None:
        self.workspace = workspace
        self.recipe = recipe
        self.seed = workspace.settings.seed
        self.summaries = FeatureShards(workspace, recipe).open()
        self.tensors = TensorShards(workspace, recipe).open()

    @cached_property
    def all_train(self) -> pl.DataFrame:
        """Keys of all training windows, after the baseline."""
        return window_keys(self.tensors, Side.TRAIN)

    @cached_property
    def drawn_episodes(self) -> list[str]:
        """Training episodes that are learnt from: all, or 2,000 drawn by the seed."""
        names = np.array(sorted(set(self.all_train["episode_id"])), dtype=np.str_)
        if names.size > MAX_TRAIN_EPISODES:
            rng = np.random.default_rng(self.seed)
            names = np.sort(rng.choice(names, MAX_TRAIN_EPISODES, replace=False))
        return [str(name) for name in names]

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which windows of the drawn episodes are learnt from: all, or 40,000 drawn."""
        n = self.all_train.filter(self._is_drawn).height
        if n <= MAX_TRAIN_WINDOWS:
            return np.arange(n)
        rng = np.random.default_rng(self.seed)
        return np.sort(rng.choice(n, MAX_TRAIN_WINDOWS, replace=False))

    @cached_property
    def train(self) -> pl.DataFrame:
        """Keys of the windows that are learnt from."""
        return self.all_train.filter(self._is_drawn)[self.rows]

    @cached_property
    def scored(self) -> pl.DataFrame:
        """Keys of the windows that models are scored on, val before test."""
        return pl.concat([window_keys(self.tensors, side) for side in SIDES])

    @property
    def _is_drawn(self) -> pl.Expr:
        return pl.col("episode_id").is_in(self.drawn_episodes)

    @cached_property
    def calibrator(self) -> Calibrator:
        """As the models' calibrators, fitted on the drawn training episodes."""
        return self._fitted(self.summaries, "summary")

    @cached_property
    def history_calibrator(self) -> Calibrator:
        """The same for features of history, whichever features the models read."""
        return self._fitted(self._dataset_of("history"), "history")

    def _fitted(self, dataset: OpenDataset, kind: FlatKind) -> Calibrator:
        return models_calibrator(
            self.workspace.settings, dataset, VARIANT, only=self._is_drawn, kind=kind
        )

    def _dataset_of(self, kind: FlatKind) -> OpenDataset:
        """Return the features if they hold a kind, else the tensors, from whose grids it is cut."""
        return self.summaries if self.summaries.holds(kind) else self.tensors

    def calibrated(self, side: Side, kind: FlatKind = "summary") -> Iterator[Float32s]:
        """Features as a realistic model reads them, batch after batch.

        Returns
        -------
        (n, 145) summaries, or (n, 406) of history.

        Raises
        ------
        DatasetError
            If they are not of the windows that the tensors' keys name.
        """
        only = self._is_drawn if side is Side.TRAIN else None
        calibrator = self.calibrator if kind == "summary" else self.history_calibrator
        windows = load_windows(self._dataset_of(kind), side, calibrator, only=only)
        keys = (
            self.all_train.filter(self._is_drawn)
            if side is Side.TRAIN
            else self.scored.filter(split=side)
        )
        ids = pl.Series(windows.episode_ids, dtype=pl.String).gather(windows.episode_numbers)
        if not keys["episode_id"].equals(ids):
            raise DatasetError(
                f"{self.summaries.folder} and {self.tensors.folder} hold other windows of {side} "
                f"({len(windows)} and {keys.height}); extract both again (cis490 extract --force)"
            )
        yield from (windows.take(rows) for rows in self._batches(side, len(windows), _BATCH))

    def observed(self, side: Side, *, zeros: bool) -> Iterator[Float32s]:
        """Share of each window's steps that were recorded, by channel: (n, 29).

        With ``zeros`` also the share of them that is exactly zero: (n, 58). Without the channels in
        quarantine, which no model sees.
        """
        seen = self.calibrator.seen
        recorded = self._raw(self.tensors, side, _TENSOR_BATCH, "tensor")
        shares = ((~np.isnan(X[:, seen])).mean(axis=2, dtype=np.float32) for X in recorded)
        if not zeros:
            yield from shares
            return
        column = STATISTICS.index("zero_fraction")
        summaries = self._raw(self.summaries, side, _TENSOR_BATCH, "summary")
        for share, X in zip(shares, summaries, strict=True):
            yield np.concatenate([share, X[:, column :: len(STATISTICS)][:, seen]], axis=1)

    def _raw(
        self, dataset: OpenDataset, side: Side, size: int, kind: InputKind
    ) -> Iterator[Float32s]:
        wanted = (pl.col("split") == side) & ~pl.col("baseline")
        if side is Side.TRAIN:
            wanted &= self._is_drawn
        keys, raw = open_windows(dataset, VARIANT, side, wanted, kind)
        yield from (raw.take(rows) for rows in self._batches(side, len(keys.y), size))

    def _batches(self, side: Side, n: int, size: int) -> Iterator[npt.NDArray[np.int64]]:
        wanted = self.rows if side is Side.TRAIN else np.arange(n)
        for start in range(0, wanted.size, size):
            yield wanted[start : start + size]

    def predictions(self) -> tuple[dict[str, pl.DataFrame], ProbeTraining]:
        """Return each probe's predictions, and what the probes learnt from.

        Returns
        -------
        Prediction frames by name, of exactly the windows that models are scored on; and the
        leaderboard's ``probes``.
        """
        train, scored, seed = self.train, self.scored, self.seed
        frames = {
            learn.MAJORITY: learn.majority_probe(train, scored),
            learn.POSITION: learn.position_probe(train, scored, seed=seed),
        }
        for name, zeros in ((learn.MISSINGNESS, False), (learn.ZEROS, True)):
            X = np.concatenate(list(self.observed(Side.TRAIN, zeros=zeros)))
            unseen = (batch for side in SIDES for batch in self.observed(side, zeros=zeros))
            frames[name] = learn.trees_probe(X, train, unseen, scored, seed=seed)
        X = np.concatenate(list(self.calibrated(Side.TRAIN)))
        threshold = fit_threshold(X, learn.training_classes(train), summary_names(VARIANT))
        frames[learn.THRESHOLD] = threshold_probe(threshold, self._scored_columns(), scored)
        drifting = summary_columns(np.array(drifting_channels(VARIANT), dtype=np.intp))
        others = np.setdiff1d(np.arange(X.shape[1]), drifting)
        for name, columns in ((learn.DRIFTING, drifting), (learn.WITHOUT_DRIFTING, others)):
            unseen = (batch[:, columns] for batch in self._scored_columns())
            frames[name] = learn.trees_probe(X[:, columns], train, unseen, scored, seed=seed)
        X = np.concatenate(list(self._gauges_history(Side.TRAIN)))
        val, test = map(self._gauges_history, SIDES)
        better = learn.better_forest_probe(X, train, val, test, scored, seed=seed)
        frames[learn.GAUGES_HISTORY], chosen = better
        details = {learn.THRESHOLD: str(threshold), learn.GAUGES_HISTORY: chosen}
        return frames, self._training(details)

    def _gauges_history(self, side: Side) -> Iterator[Float32s]:
        gauges = np.array(drifting_channels(VARIANT), dtype=np.intp)
        columns = calibrated_columns("history", gauges)
        yield from (batch[:, columns] for batch in self.calibrated(side, "history"))

    def _scored_columns(self) -> Iterator[Float32s]:
        return (batch for side in SIDES for batch in self.calibrated(side))

    def _training(self, details: Mapping[str, str]) -> ProbeTraining:
        n_all = self.all_train["episode_id"].n_unique()
        return {
            "variant": str(VARIANT),
            "calibration": str(CALIBRATION),
            "learner": f"extremely randomized trees, {learn.N_EXTRA_TREES}, classes weighted alike",
            "fitted_on": "train",
            "seed": self.seed,
            "n_train_episodes": self.train["episode_id"].n_unique(),
            "n_train_windows": self.train.height,
            "n_train_episodes_in_all": n_all,
            "n_train_windows_in_all": self.all_train.height,
            "rows": [
                {
                    "model": name,
                    "knows": knows,
                    "role": "control" if name in learn.CONTROLS else "shortcut",
                    "detail": details.get(name),
                }
                for name, knows in learn.PROBES.items()
            ],
        }
