"""The stage that spoils test episodes as recorders do, and scores every model on them again."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import EpisodeRef, Recipe, Side
from cis490_pipeline.domain.arrays import Float32s, Ints, class_indices
from cis490_pipeline.domain.catalogue import DEFAULT_FEATURES, MODELS, FlatKind
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.evaluation.generalization.robustness import ROBUSTNESS_VERSION, robustness_rows
from cis490_pipeline.evaluation.report import EVALUATION_VERSION
from cis490_pipeline.evaluation.schema.board import Robustness as RobustnessTable
from cis490_pipeline.evaluation.schema.board import RobustnessRow
from cis490_pipeline.evaluation.schema.stored import read_form
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage, TensorShards, ValidationIndex
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.datasets.load import window_keys
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.stress.perturbations import (
    PERTURBATIONS_VERSION,
    SCENARIOS,
    UNPERTURBED,
    Scenario,
)
from cis490_pipeline.features.stress.recut import recut
from cis490_pipeline.storage.files import digest, write_json
from cis490_pipeline.store.episode import Episode, load_episode

if TYPE_CHECKING:
    from cis490_pipeline.features.calibration.calibrator import Calibrator
    from cis490_pipeline.models.base import BaseModel

MAX_EPISODES: Final = 100
"""Test episodes drawn by the seed, at most: each is cut again for every scenario."""
CHUNK_WINDOWS: Final = 2048
"""Windows cut at a time, 38 MB, however many there are."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Episodes as they were recorded, in the order of the dataset."""

    episodes: Sequence[Episode]
    numbers: Sequence[npt.NDArray[np.int64]]
    """Of the windows of each episode that are scored."""
    y: Ints
    """(n_windows,) true classes of all windows, episode after episode."""
    ids: npt.NDArray[np.str_]
    """(n_windows,) episode ids."""


class Robustness(RecipeStage):
    """``model/robustness``: every model under every recording fault."""

    key = "model/robustness"
    side = Side.TEST

    def __init__(self, workspace: Workspace, recipe: Recipe) -> None:
        super().__init__(workspace, recipe)
        self.data = (ValidationIndex(workspace, recipe), TensorShards(workspace, recipe))
        """The split and the windows."""
        self.models = [TrainedCheckpoint(workspace, recipe, *model) for model in MODELS]

    @property
    def checkpoints(self) -> list[TrainedCheckpoint]:
        """Checkpoints of this recipe that are up to date."""
        return [stage for stage in self.models if stage.current() is not None]

    def above(self) -> tuple[Stage, ...]:
        """Return the split, the windows and every checkpoint."""
        return (*self.data, *self.models)

    def gated_by(self) -> tuple[Stage, ...]:
        """Return what is scored: a checkpoint that is out of date is left out."""
        return (*self.data, *self.checkpoints)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of checkpoints, windows and split, and how rows are spoilt and scored."""
        records = {stage.name: stage.record() for stage in self.checkpoints}
        trained = {name: record.digest for name, record in records.items() if record is not None}
        index, windows = (stage.record() for stage in self.data)
        if not trained or index is None or windows is None:
            return None
        return {
            **trained,
            "dataset": windows.digest,
            "split": index.digest,
            "robustness": ROBUSTNESS_VERSION,
            "perturbations": PERTURBATIONS_VERSION,
            "evaluation": EVALUATION_VERSION,
            "seed": str(self.workspace.settings.seed),
        }

    def make(self) -> StageOutput:
        """Cut, calibrate and score; write ``robustness.json``."""
        seed = self.workspace.settings.seed
        stages = self.checkpoints
        left_out: dict[str, str] = {}
        chunks, predicted, touched = [], [], {s.name: 0 for s in SCENARIOS}
        models = [_restored(stage) for stage in stages]
        drawn, n_in_all = self._drawn()
        done, n_drawn = 0, drawn["episode_id"].n_unique()
        self.workspace.progress("spoil test episodes", done, n_drawn)
        for chunk in self._chunks(drawn, left_out):
            chunks.append((chunk.y, chunk.ids))
            predicted.append(self.predictions(models, chunk, touched))
            done += len(chunk.episodes)
            self.workspace.progress("spoil test episodes", done, n_drawn)
        rows: list[RobustnessRow] = []
        if chunks:
            y, ids = (np.concatenate(part) for part in zip(*chunks, strict=True))
            of = {
                scenario: {
                    model: np.concatenate([part[scenario][model] for part in predicted])
                    for model in predicted[0][scenario]
                }
                for scenario in predicted[0]
            }
            base = of.pop(UNPERTURBED.name)
            rows = robustness_rows(y, ids, base, of, seed=seed)
        n_read = len({str(i) for _, ids in chunks for i in ids})
        result: RobustnessTable = {
            "split": str(self.recipe),
            "side": str(self.side),
            "seed": seed,
            "scenarios": [
                {"name": s.name, "what": s.what, "n_episodes_changed": touched[s.name]}
                for s in SCENARIOS
            ],
            "rows": rows,
            "n_episodes": n_read,
            "n_episodes_in_all": n_in_all,
            "left_out": left_out,
            "why": None if rows else "no test episode could be read from the store",
        }
        path = self.workspace.paths.robustness(self.recipe)
        write_json(path, result)
        numbers: Metrics = {"episodes": n_read, "left_out": len(left_out), "rows": len(rows)}
        return StageOutput(digest(result), (path,), numbers)

    def table(self, models: Collection[str]) -> RobustnessTable | None:
        """Return what faults cost some models, as a leaderboard carries it; None if out of date."""
        if self.current() is None:
            return None
        table = read_form(self.workspace.paths.robustness(self.recipe), RobustnessTable)
        return {**table, "rows": [row for row in table["rows"] if row["model"] in models]}

    def predictions(
        self,
        models: Sequence[tuple[str, "BaseModel", "Calibrator"]],
        chunk: Chunk,
        touched: dict[str, int] | None = None,
        scenarios: Sequence[Scenario] = SCENARIOS,
    ) -> dict[str, dict[str, Ints]]:
        """Predicted classes by scenario (``unperturbed`` first), then by model: (n_windows,) each.

        Each episode is cut once per scenario, and calibrated once per calibrator, for all models.
        A model that is given exactly the windows it was given before is not asked again.

        Parameters
        ----------
        models : names, models, calibrators.
        chunk : episodes and windows.
        touched : gets the number of episodes in which each scenario changed a window's readings or
            baseline, added up.
        scenarios : in their order.
        """
        predicted: dict[str, dict[str, Ints]] = {}
        seen: dict[str, Float32s] = {}
        settings = self.workspace.settings
        past = any(calibrator.kind == "history" for _, _, calibrator in models)
        kind: FlatKind = "history" if past else DEFAULT_FEATURES
        for scenario in (UNPERTURBED, *scenarios):
            cut = recut(chunk.episodes, chunk.numbers, scenario, seed=settings.seed, kind=kind)
            calibrated: dict[str, Float32s] = {}
            predicted[scenario.name] = {}
            for name, model, calibrator in models:
                X = calibrated.get(calibrator.digest)
                if X is None:
                    X = calibrated[calibrator.digest] = cut.calibrated(calibrator)
                same = scenario is not UNPERTURBED and np.array_equal(
                    X, seen[calibrator.digest], equal_nan=True
                )
                predicted[scenario.name][name] = (
                    predicted[UNPERTURBED.name][name]
                    if same
                    else model.predict_windows(ArrayWindows(X, chunk.y, chunk.ids)).argmax(axis=1)
                )
            if scenario is UNPERTURBED:
                seen, before = calibrated, cut
            elif touched is not None:
                differs = _differs(cut.windows, before.windows) | _differs(cut.rows, before.rows)
                differs |= _differs(cut.median, before.median)
                touched[scenario.name] += np.unique(chunk.ids[differs]).size
        return predicted

    def _drawn(self) -> tuple[pl.DataFrame, int]:
        """Keys of the scored windows, of at most 100 test episodes; how many episodes there are."""
        keys = window_keys(TensorShards(self.workspace, self.recipe).open(), self.side)
        names = np.array(sorted(set(keys["episode_id"])), dtype=np.str_)
        if names.size <= MAX_EPISODES:
            return keys, names.size
        rng = np.random.default_rng(self.workspace.settings.seed)
        taken = [str(name) for name in rng.choice(names, MAX_EPISODES, replace=False)]
        return keys.filter(pl.col("episode_id").is_in(taken)), names.size

    def _chunks(self, keys: pl.DataFrame, left_out: dict[str, str]) -> Iterator[Chunk]:
        """Read the episodes, as many at a time as have 2,048 windows; note those that cannot be."""
        load = self._loader()
        episodes: list[Episode] = []
        rows: list[pl.DataFrame] = []

        def chunk() -> Chunk:
            windows = pl.concat(rows)
            return Chunk(
                tuple(episodes),
                [part["window_idx"].to_numpy().astype(np.int64) for part in rows],
                class_indices(windows["phase"]),
                windows["episode_id"].to_numpy().astype(np.str_),
            )

        for of_episode in keys.partition_by("host_id", "episode_id", maintain_order=True):
            host_id, episode_id = of_episode.select("host_id", "episode_id").row(0)
            ref = EpisodeRef(host_id, episode_id)
            found = load(ref)
            if isinstance(found, str):
                left_out[str(ref)] = found
                continue
            if rows and sum(map(len, rows)) + len(of_episode) > CHUNK_WINDOWS:
                yield chunk()
                episodes, rows = [], []
            episodes.append(found)
            rows.append(of_episode)
        if rows:
            yield chunk()

    def _loader(self) -> Callable[[EpisodeRef], Episode | str]:
        store = self.workspace.store
        index_rows: Mapping[EpisodeRef, Any] = store.read_index().rows
        grids = GridStore(GridShards(self.workspace).folder).frame
        content = dict(grids.select("episode_id", "sha256").iter_rows())

        def load(ref: EpisodeRef) -> Episode | str:
            """Read an episode, or say why it cannot be used; the report names it."""
            try:
                episode = load_episode(store, ref, index_rows.get(ref))
            except (PipelineError, OSError) as fault:
                return f"{type(fault).__name__}: {fault}"
            if episode.sha256 != content[ref.episode_id]:
                return f"changed since its windows were cut (now {episode.sha256:.12})"
            return episode

        return load


def _restored(stage: TrainedCheckpoint) -> tuple[str, "BaseModel", "Calibrator"]:
    from cis490_pipeline.models.registry import restore

    checkpoint = stage.load()
    return stage.name, restore(checkpoint), checkpoint.calibrator


def _differs(one: Float32s, other: Float32s) -> npt.NDArray[np.bool_]:
    """Which rows of two arrays are not the same, unknown for unknown: (n,)."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    differs: npt.NDArray[np.bool_] = ~same.reshape(len(one), -1).all(axis=1)
    return differs
