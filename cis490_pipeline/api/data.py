"""Data of the public API: store, episodes, splits, and datasets as arrays."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe, Side, Variant, Verdict
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.domain.terms import member
from cis490_pipeline.experiment.pipeline.corpus import ValidationSweep, corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex, dataset_stages, shards_of
from cis490_pipeline.experiment.pipeline.training import models_calibrator
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.extract_episode import named_episode
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.columns import calibrated_names
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.extract import ExtractedEpisode, extract_episode
from cis490_pipeline.splits.split import Split
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.episode import Episode
from cis490_pipeline.store.verdicts.sweep import VerdictCounts, verdict_counts

if TYPE_CHECKING:
    from cis490_pipeline.checkpoints.runnable import RunnableModel


class StoreCounts(VerdictCounts):
    """Counts of ``cis490 validate --json``."""

    skipped_index_rows: int
    left_out_entries: int
    left_out: list[str]
    """What was left out, a line each."""


@dataclass(frozen=True, kw_only=True)
class StoreVerdicts:
    """Verdicts on all episodes of a store.

    Attributes
    ----------
    frame : one row per episode (``status``, ``reasons``, ``details``, …), in the order of receipt.
    counts : episodes by verdict, reasons, and what was left out, as ``cis490 validate --json`` has
        them.
    n_read : episodes that were opened; the verdicts on the others still held.
    why : why the store was read, or ``up to date``.
    """

    frame: pl.DataFrame
    counts: StoreCounts
    n_read: int
    why: str

    @property
    def sound(self) -> bool:
        """Whether no episode was rejected or errored, and nothing in the store was left out."""
        bad = self.frame["status"].is_in([Verdict.REJECTED, Verdict.ERRORED]).any()
        return not bad and not self.n_left_out

    @property
    def n_left_out(self) -> int:
        """Rows of the index and entries of the store that are not of the format."""
        return self.counts["skipped_index_rows"] + self.counts["left_out_entries"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Calibrated windows of one side, in memory.

    Attributes
    ----------
    X : (n_windows, n_channels, n_steps) float32 of kind ``tensor``, at 10 Hz; (n_windows,
        n_features) of kind ``summary``. In calibrated units, without dimension; NaN is unknown.
    y : (n_windows,) int64, the phase's position in ``PHASES``.
    keys : (n_windows rows) episode, host, profile, start and end (Unix ns) and further columns of
        each window, in the order of ``X``.
    names : of the channels or features, in the order of axis 1 of ``X``.
    calibration : digest of the calibrator.
    """

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    keys: pl.DataFrame
    names: tuple[str, ...]
    calibration: str

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.y)


def open_workspace(
    *, progress: Progress = no_progress, accept_loss: bool = False, **settings: Any
) -> Workspace:
    """Open a store and a data folder, which every other function takes.

    Parameters
    ----------
    progress : called with what is done, how much of it is done, and how much there is.
    accept_loss : whether to validate a store although it lost its index or over 5 % of the episodes
        it had; otherwise that raises `StoreError`.
    **settings : fields of ``config.Settings`` such as ``store``, ``data``, ``seed``, ``workers``.
        Those not given come from the environment, ``cis490.toml`` and defaults, in this order.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range.

    Examples
    --------
    >>> lab = cis.open_workspace(store="data/sample", data="data")
    >>> len(lab.store.episodes())
    66
    """
    return Workspace(Settings.load(**settings), progress, accept_loss=accept_loss)


def validate_store(workspace: Workspace) -> StoreVerdicts:
    """Give every episode of the store its verdict; reads only what is new or changed.

    Raises
    ------
    StoreError
        If there is no store, no episode in it, or it lost its index or over 5 % of the episodes it
        had.
    GateError
        If a blocking check of the verdicts fails.

    Examples
    --------
    >>> verdicts = cis.validate_store(cis.open_workspace())
    >>> verdicts.counts["counts"]
    {'accepted': 62, 'degraded': 2, 'rejected': 2, 'errored': 0}
    >>> verdicts.sound
    False
    """
    (outcome,) = make_stages((ValidationSweep(workspace),))
    frame = read_table(workspace.paths.validation)
    numbers = outcome.numbers
    counts: StoreCounts = {
        **verdict_counts(frame),
        "skipped_index_rows": int(numbers.get("index_rows_skipped") or 0),
        "left_out_entries": int(numbers.get("entries_left_out") or 0),
        "left_out": str(numbers.get("left_out") or "").splitlines(),
    }
    return StoreVerdicts(
        frame=frame, counts=counts, n_read=int(numbers["archives_read"] or 0), why=outcome.why
    )


def load_episode(workspace: Workspace, name: str) -> Episode:
    """Read one episode of the store: labels, and the readings of each source.

    Parameters
    ----------
    name : ``HOST/EPISODE_ID``.

    Raises
    ------
    StoreError
        If the store has no such episode.
    EpisodeRejectedError
        With the reason codes, if a file is missing, damaged or not of the format.

    Examples
    --------
    >>> lab = cis.open_workspace()
    >>> ref = min(lab.store.episodes())
    >>> episode = cis.load_episode(lab, f"{ref.host_id}/{ref.episode_id}")
    >>> [str(label.phase) for label in episode.labels][:2]
    ['clean', 'armed']
    """
    return named_episode(workspace.store, name)


def extract_features(episode: Episode, variant: str = Variant.REALISTIC) -> ExtractedEpisode:
    """Cut the windows of one episode, uncalibrated; the datasets come from the same code.

    Parameters
    ----------
    variant : ``realistic`` for the 29 channels of a deployed device, ``oracle`` for all 46,
        ``network`` for the 10 of its traffic.

    Returns
    -------
    ``tensors`` (n_windows, n_channels, 100), ``summary`` (n_windows, n_channels × 5), ``y`` and
    ``purity`` (n_windows,); log1p of rates per second and of gauges, NaN is unknown.

    Raises
    ------
    ConfigError
        If there is no such variant.
    TelemetryError, DatasetError
        If a source's time goes back, or a label is no class.

    Examples
    --------
    >>> lab = cis.open_workspace()
    >>> ref = min(lab.store.episodes())
    >>> episode = cis.load_episode(lab, f"{ref.host_id}/{ref.episode_id}")
    >>> cis.extract_features(episode).tensors.shape[1:]
    (29, 100)
    """
    return extract_episode(episode, member(Variant, variant))


def make_datasets(workspace: Workspace, recipe: str) -> Split:
    """Validate the store, deal its episodes to sides and cut both datasets of a recipe.

    What is up to date is not made again.

    Parameters
    ----------
    recipe : ``host``, ``sample`` or ``time``: what the test side holds out.

    Returns
    -------
    The split: ``counts`` of episodes by side, ``assignment``, ``digest``.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    StoreError, SplitError, DatasetError, GateError
        If a step cannot be made, or one of its blocking checks fails.

    Examples
    --------
    >>> cis.make_datasets(cis.open_workspace(), "host").counts
    {'train': 25, 'val': 7, 'test': 31, 'excluded': 1}
    """
    of = member(Recipe, recipe)
    make_stages((*corpus_stages(workspace), *dataset_stages(workspace, of)))
    return ValidationIndex(workspace, of).placed()


def load_split(workspace: Workspace, recipe: str) -> Split:
    """Read which episodes are on which side, as ``make_datasets`` last placed them.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    SplitError
        If no split is stored, or the file was edited.

    Examples
    --------
    >>> lab = cis.open_workspace()
    >>> _ = cis.make_datasets(lab, "host")
    >>> cis.load_split(lab, "host").shared["hosts"]
    []
    """
    return ValidationIndex(workspace, member(Recipe, recipe)).placed()


def load_dataset(
    workspace: Workspace,
    recipe: str,
    side: str,
    *,
    variant: str = Variant.REALISTIC,
    kind: InputKind = "tensor",
    model: "RunnableModel | None" = None,
) -> Dataset:
    """Load one side of a recipe as ``X``, ``y`` and ``keys``, calibrated and in memory.

    Windows that touch the 15 s an episode is calibrated by are left out. The test side is for the
    final score: whatever is chosen by it makes its score optimistic.

    Parameters
    ----------
    recipe, side : ``host``, ``sample`` or ``time``; ``train``, ``val`` or ``test``.
    variant : ``realistic`` (29 channels), ``oracle`` (46) or ``network`` (10).
    kind : ``tensor`` for series, ``summary`` for five statistics of each channel, ``history`` for
        these with linear means and the past, where the setting ``features`` is ``history``.
    model : whose calibrator, variant and kind to take, instead of fitting on the train side.

    Raises
    ------
    ConfigError
        If a name is unknown.
    DatasetError, SchemaMismatchError
        If the dataset is missing (``make_datasets`` makes it), changed, or of other features.

    Examples
    --------
    >>> lab = cis.open_workspace()
    >>> _ = cis.make_datasets(lab, "host")
    >>> train = cis.load_dataset(lab, "host", "train")
    >>> train.X.shape, train.y.shape, train.keys.height
    ((285, 29, 100), (285,), 285)
    """
    seen = member(Variant, variant)
    if model is not None:
        kind, seen = model.calibrator.kind, model.calibrator.variant
    dataset = shards_of(kind)(workspace, member(Recipe, recipe)).open()
    calibrator = (
        models_calibrator(workspace.settings, dataset, seen, kind=kind)
        if model is None
        else model.calibrator
    )
    windows = load_windows(dataset, member(Side, side), calibrator)
    names = channel_names(seen) if kind == "tensor" else calibrated_names(kind, seen)
    return Dataset(
        X=windows.take(np.arange(len(windows))),
        y=windows.y,
        keys=windows.frame.with_columns(windows.calibration_ids),
        names=names,
        calibration=calibrator.digest,
    )
