"""Hyperparameter search of one model, on validation only; the test side is not opened."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from cis490_pipeline.domain import Side
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS
from cis490_pipeline.domain.terms import Setting
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint, models_calibrator
from cis490_pipeline.features.datasets.load import load_windows
from cis490_pipeline.features.datasets.window_data import WindowData
from cis490_pipeline.models.search import SPACES, Choice, Range, Space
from cis490_pipeline.storage.files import digest, naming

if TYPE_CHECKING:
    from cis490_pipeline.models.base import BaseModel
    from cis490_pipeline.training.history import EpochRecord

MAX_PARAMETERS: Final = 350_000
"""Most parameters of a network, so that a Raspberry Pi can run it; larger ones are pruned."""
_PRUNED_BEFORE: Final = 5
"""Trials, and epochs of a trial, before pruning starts."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Result of a search."""

    model: str
    best: dict[str, Setting]
    """Settings of the best trial that differ from the defaults."""
    best_val_macro_f1: float
    default_val_macro_f1: float | None
    """Score of the first trial, which has the default settings; ``None`` if it failed."""
    n_finished: int
    n_pruned: int
    n_failed: int
    n_val_windows: int
    n_val_episodes: int
    journal: str
    """Journal of the trials, from which a stopped search continues."""


def tune(stage: TrainedCheckpoint, *, n_trials: int, timeout_s: float | None = None) -> Tuned:
    """Tune the settings of one model by macro F1 on the validation side.

    Parameters
    ----------
    stage : the model; its data must exist.
    n_trials : total number of trials, including earlier ones on the same data. The first has the
        default settings, so that the result is never worse.
    timeout_s : start no trial after this many seconds.

    Raises
    ------
    PipelineError
        If no trial finished.
    DatasetError, SchemaMismatchError
        As ``load_windows``.

    Notes
    -----
    Tree-structured Parzen estimator with median pruning (Akiba et al., 2019, Optuna). The best of
    many scores on one validation side is optimistically biased; ``cis490 evaluate`` measures it
    once on the test side afterwards.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = _Search(stage)
    with warnings.catch_warnings(), naming(search.journal, "cannot be written"):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = search.study()
        search.run(study, n_trials=n_trials, timeout_s=timeout_s)
    return search.result(study)


class _Search:
    """Data and Optuna study of one search."""

    def __init__(self, stage: TrainedCheckpoint) -> None:
        self.stage = stage
        self.settings = stage.workspace.settings
        self.space: Space = SPACES[stage.architecture]
        dataset = stage.dataset.open()
        calibrator = models_calibrator(self.settings, dataset, stage.variant)
        self.train: WindowData = load_windows(dataset, Side.TRAIN, calibrator)
        self.val: WindowData = load_windows(dataset, Side.VAL, calibrator)
        self.about = digest(
            {
                "dataset": (stage.inputs() or {}).get("dataset"),
                "calibrator": calibrator.digest,
                "architecture": ARCHITECTURE_VERSIONS[stage.architecture],
                "space": {name: asdict(part) for name, part in self.space.items()},
                "seed": self.settings.seed,
            }
        )

    @property
    def journal(self) -> Path:
        folder = self.stage.workspace.paths.recipe(self.stage.recipe) / "tuning"
        return folder / f"{self.stage.name}-{self.about[:12]}.log"

    def study(self) -> optuna.Study:

        self.journal.parent.mkdir(parents=True, exist_ok=True)
        drop_torn_line(self.journal)
        study = optuna.create_study(
            study_name=self.about,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self.settings.seed),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_PRUNED_BEFORE, n_warmup_steps=_PRUNED_BEFORE
            ),
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(self.journal))),
            load_if_exists=True,
        )
        if not study.trials:
            study.enqueue_trial(_as_parameters(self.space, self.model({}).settings))
        return study

    def run(self, study: optuna.Study, *, n_trials: int, timeout_s: float | None) -> None:

        done = [trial for trial in study.trials if trial.state.is_finished()]
        what, progress = f"tune {self.stage.name}", self.stage.workspace.progress
        progress(what, len(done), n_trials)

        def report(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            finished = sum(t.state.is_finished() for t in study.trials)
            progress(what, min(finished, n_trials), n_trials, _best_so_far(study))

        study.optimize(
            self.score,
            n_trials=max(n_trials - len(done), 0),
            timeout=timeout_s,
            callbacks=[report],
            # Settings that cannot be trained count as failed trials; other errors propagate.
            catch=(PipelineError,),
        )

    def model(self, config: Mapping[str, Setting]) -> "BaseModel":
        from cis490_pipeline.models.registry import create

        return create(
            self.stage.architecture,
            self.stage.variant,
            kind=self.stage.input_kind,
            seed=self.settings.seed,
            config={**self.stage.settings(), **config},
        )

    def score(self, trial: optuna.Trial) -> float:
        """Train with the trial's settings; return the best macro F1 on validation."""
        model = self.model(_chosen(self.space, trial))

        def report(record: "EpochRecord") -> None:
            trial.report(record.val_macro_f1, record.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        if model.n_parameters > MAX_PARAMETERS:
            raise optuna.TrialPruned
        model.fit(self.train, self.val, progress=report)
        score = model.history_["best_val_macro_f1"]
        return math.nan if score is None else score

    def result(self, study: optuna.Study) -> Tuned:

        def count(state: TrialState) -> int:
            return len(study.get_trials(deepcopy=False, states=(state,)))

        if not count(TrialState.COMPLETE):
            raise PipelineError(
                f"{self.stage.name}: none of {len(study.trials)} trials finished; "
                f"see {self.journal}"
            )
        defaults = self.model({}).settings
        best = _read(self.space, study.best_trial.params)
        return Tuned(
            model=self.stage.name,
            best={n: v for n, v in best.items() if v != _plain(defaults[n])},
            best_val_macro_f1=float(study.best_value),
            default_val_macro_f1=study.trials[0].value,
            n_finished=count(TrialState.COMPLETE),
            n_pruned=count(TrialState.PRUNED),
            n_failed=count(TrialState.FAIL),
            n_val_windows=len(self.val),
            n_val_episodes=len(self.val.episode_ids),
            journal=str(self.journal),
        )


def drop_torn_line(journal: Path) -> None:
    """Truncate a partial last line, left by a full disk or a kill: Optuna cannot read past it."""
    try:
        with journal.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    except FileNotFoundError:
        return


def _best_so_far(study: optuna.Study) -> str:
    values = [trial.value for trial in study.trials if trial.value is not None]
    return f"best val macro F1 {max(values):.3f}" if values else ""


def _chosen(space: Space, trial: optuna.Trial) -> dict[str, Setting]:
    """Sample a value for each setting of the space."""
    drawn: dict[str, Setting] = {}
    for name, part in space.items():
        if isinstance(part, Choice):
            drawn[name] = trial.suggest_categorical(name, [json.dumps(v) for v in part.values])
        elif part.is_whole:
            drawn[name] = trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
        else:
            drawn[name] = trial.suggest_float(name, part.low, part.high, log=part.log)
    return _read(space, drawn)


def _as_parameters(space: Space, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Encode settings as trial parameters: a choice is the JSON text of its value."""
    return {
        name: settings[name] if isinstance(part, Range) else json.dumps(settings[name])
        for name, part in space.items()
    }


def _read(space: Space, drawn: Mapping[str, Setting]) -> dict[str, Setting]:
    return {
        name: value if isinstance(space[name], Range) else json.loads(str(value))
        for name, value in drawn.items()
    }


def _plain(value: Setting) -> Setting:
    return list(value) if isinstance(value, tuple) else value
