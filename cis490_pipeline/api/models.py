"""Models of the public API: training, prediction, evaluation with intervals, the leaderboard."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.api.data import Dataset
from cis490_pipeline.checkpoints.runnable import RunnableModel, load_runnable
from cis490_pipeline.domain import PHASES, Architecture, Recipe, Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.domain.terms import member
from cis490_pipeline.errors import CalibrationError, EvaluationError
from cis490_pipeline.evaluation.predictions import (
    checked_predictions,
    matrices_of,
    prediction_frame,
    require_scored,
)
from cis490_pipeline.evaluation.predictions import read_predictions as read_stored
from cis490_pipeline.evaluation.report import evaluate
from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.schema.stored import read_form, read_report
from cis490_pipeline.evaluation.uncertainty.intervals import N_RESAMPLES, Interval, episode_interval
from cis490_pipeline.experiment.order import corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.gates import require_current_passed
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.splits.split import Split

_BATCH = 512


def train_model(
    workspace: Workspace,
    recipe: str,
    architecture: str,
    variant: str = Variant.REALISTIC,
    *,
    seed: int | None = None,
    force: bool = False,
) -> Path:
    """Train one model of a recipe, its data first where they are missing; needs torch or XGBoost.

    Parameters
    ----------
    recipe : ``host``, ``sample`` or ``time``.
    architecture : ``gbt``, ``mlp``, ``cnn``, ``gru``, ``lstm`` or ``transformer``.
    variant : ``realistic``, ``oracle`` or ``network``.
    seed : of the training; by default the settings' seed.
    force : whether to train even what is up to date.

    Returns
    -------
    The checkpoint's folder.

    Raises
    ------
    ConfigError
        If a name is unknown.
    TrainingError
        If a phase has no training window, or a loss is not finite.
    GateError
        If a blocking check of the data fails.

    Examples
    --------
    >>> lab = cis.open_workspace(models={"gbt": {"max_rounds": 20}})
    >>> cis.train_model(lab, "host", "gbt")
    PosixPath('data/artifacts/host/gbt_realistic')
    """
    of = member(Recipe, recipe)
    names = (member(Architecture, architecture), member(Variant, variant))
    stage = TrainedCheckpoint(workspace, of, *names, seed=seed)
    make_stages((*corpus_stages(workspace), *dataset_stages(workspace, of)))
    make_stages((stage,), force=force)
    return stage.folder


def load_model(folder: Path | str, *, threads: int = 1) -> RunnableModel:
    """Open a checkpoint to predict with ONNX Runtime; torch and XGBoost are not needed.

    Parameters
    ----------
    folder : of the checkpoint, such as ``data/artifacts/host/gbt_realistic``.
    threads : of one prediction.

    Raises
    ------
    CheckpointError
        If a file is missing or changed, or the model does not answer its golden windows as it did
        when it was trained.
    SchemaMismatchError
        If it was trained on other features than this code builds.

    Examples
    --------
    >>> lab = cis.open_workspace(models={"gbt": {"max_rounds": 20}})
    >>> model = cis.load_model(cis.train_model(lab, "host", "gbt"))
    >>> model.name, model.calibrator.kind
    ('gbt_realistic', 'summary')
    """
    return load_runnable(Path(folder), threads=threads)


def predict(model: RunnableModel, dataset: Dataset) -> npt.NDArray[np.float64]:
    """Probability of each phase for each window.

    Parameters
    ----------
    dataset : as ``load_dataset(..., model=model)`` gives it: calibrated as the model was trained.

    Returns
    -------
    (n_windows, 5), rows summing to 1, columns in the order of ``PHASES``.

    Raises
    ------
    CalibrationError
        If the dataset was calibrated otherwise.

    Examples
    --------
    >>> lab = cis.open_workspace(models={"gbt": {"max_rounds": 20}})
    >>> model = cis.load_model(cis.train_model(lab, "host", "gbt"))
    >>> val = cis.load_dataset(lab, "host", "val", model=model)
    >>> cis.predict(model, val).shape == (len(val), len(cis.PHASES))
    True
    """
    if dataset.calibration != model.calibrator.digest:
        raise CalibrationError(
            f"{model.name}: the dataset is calibrated by {dataset.calibration:.12}, the model by "
            f"{model.calibrator.digest:.12}; load it with model=…"
        )
    proba = np.empty((len(dataset), len(PHASES)))
    for start in range(0, len(dataset), _BATCH):
        batch = dataset.X[start : start + _BATCH]
        proba[start : start + _BATCH] = model.classifier.predict_proba(batch)
    return proba


def predictions_of(dataset: Dataset, proba: npt.NDArray[np.floating]) -> pl.DataFrame:
    """Table of predictions, of any model's probabilities, ready to be evaluated.

    Parameters
    ----------
    dataset : of the side ``val`` or ``test``.
    proba : (n_windows, 5), rows summing to 1, columns in the order of ``PHASES``.

    Raises
    ------
    EvaluationError
        If the shape differs, a row is no distribution, or the windows are of the train side.

    Examples
    --------
    >>> lab = cis.open_workspace()
    >>> _ = cis.make_datasets(lab, "host")
    >>> val = cis.load_dataset(lab, "host", "val")
    >>> cis.predictions_of(val, np.full((len(val), 5), 0.2)).columns[:4]
    ['episode_id', 'host_id', 'profile', 'sample_name']
    """
    return prediction_frame(dataset.keys, proba)


def read_predictions(workspace: Workspace, recipe: str, model: str) -> pl.DataFrame:
    """Read the stored predictions of a checkpoint: scored windows of val and test.

    Parameters
    ----------
    model : ``<architecture>_<variant>``, such as ``gbt_realistic``.

    Raises
    ------
    EvaluationError
        If none are stored (``evaluate_checkpoint`` stores them), or the file was changed.

    Examples
    --------
    >>> lab = cis.open_workspace(models={"gbt": {"max_rounds": 20}})
    >>> _ = cis.train_model(lab, "host", "gbt")
    >>> _ = cis.evaluate_checkpoint(lab, "host", "gbt")
    >>> cis.read_predictions(lab, "host", "gbt_realistic")["episode_id"].n_unique()
    38
    """
    return read_stored(workspace.paths.checkpoint(member(Recipe, recipe), model))


def macro_f1(
    predictions: pl.DataFrame, *, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> Interval:
    """Macro F1 over all windows, with a 95 % confidence interval that resamples episodes.

    Parameters
    ----------
    predictions : as ``predictions_of`` or ``read_predictions`` gives them; one side of them.
    seed, n_resamples : of the bootstrap.

    Returns
    -------
    ``estimate``, ``low``, ``high``, ``n_episodes``, ``n_windows``, ``method``; NaN where undefined.

    Raises
    ------
    EvaluationError
        If the table cannot be scored.

    Examples
    --------
    >>> lab = cis.open_workspace()
    >>> _ = cis.make_datasets(lab, "host")
    >>> val = cis.load_dataset(lab, "host", "val")
    >>> always_clean = np.tile([1.0, 0, 0, 0, 0], (len(val), 1))
    >>> score = cis.macro_f1(cis.predictions_of(val, always_clean))
    >>> score.n_episodes, score.low < score.estimate < score.high
    (7, True)
    """
    frame = checked_predictions(predictions)
    require_scored("predictions", frame)
    return episode_interval(matrices_of(frame).counts, seed=seed, n_resamples=n_resamples)


def evaluate_predictions(
    predictions: pl.DataFrame,
    split: Split,
    *,
    model: str = "model",
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> EvalReport:
    """Report on the predictions of any model: scores with intervals, by phase, host and profile.

    Parameters
    ----------
    predictions : of val and test together; scores are of test, validation's stand under ``val``.
    split : the split that assigned the episodes to sides (``load_split``).
    model : its name in the report.
    seed, n_resamples : of every interval.

    Returns
    -------
    JSON values, in the form of ``docs/schema/eval_report.schema.json``.

    Raises
    ------
    EvaluationError
        If the table cannot be scored or holds no test window.

    Examples
    --------
    >>> lab = cis.open_workspace(models={"gbt": {"max_rounds": 20}})
    >>> _ = cis.train_model(lab, "host", "gbt")
    >>> _ = cis.evaluate_checkpoint(lab, "host", "gbt")
    >>> predictions = cis.read_predictions(lab, "host", "gbt_realistic")
    >>> report = cis.evaluate_predictions(predictions, cis.load_split(lab, "host"), model="mine")
    >>> report["model"], report["n_episodes"], len(report["per_class"])
    ('mine', 31, 5)
    """
    return evaluate(
        predictions,
        model=model,
        architecture=None,
        variant=None,
        split=split.summary(),
        checkpoint_digest=None,
        seed=seed,
        n_resamples=n_resamples,
    )


def evaluate_checkpoint(
    workspace: Workspace,
    recipe: str,
    architecture: str,
    variant: str = Variant.REALISTIC,
    *,
    seed: int | None = None,
) -> EvalReport:
    """Score a trained checkpoint on the test side, which is opened once and counted.

    A report that is up to date is read, not made again.

    Parameters
    ----------
    recipe, architecture, variant, seed : as ``train_model`` had them.

    Returns
    -------
    JSON values, in the form of ``docs/schema/eval_report.schema.json``.

    Raises
    ------
    EvaluationError
        If the checkpoint is missing or outdated.
    GateError
        If a blocking check fails.

    Examples
    --------
    >>> lab = cis.open_workspace(models={"gbt": {"max_rounds": 20}})
    >>> _ = cis.train_model(lab, "host", "gbt")
    >>> report = cis.evaluate_checkpoint(lab, "host", "gbt")
    >>> report["ci_low"] < report["macro_f1"] < report["ci_high"]
    True
    """
    of = member(Recipe, recipe)
    names = (member(Architecture, architecture), member(Variant, variant))
    stage = EvaluationReport(workspace, of, *names, seed=seed)
    # What a gate holds cannot be trained first either.
    require_current_passed(dataset_stages(workspace, of))
    if stage.checkpoint.current() is None:
        if stage.checkpoint.record() is not None:
            stage.checkpoint.load()  # refuses by name what was trained on other features
        further = stage.seed - workspace.settings.seed
        raise EvaluationError(
            f"{stage.full_name} on split {recipe}: {stage.checkpoint.outdated()}; train it "
            f"first: cis490 train --split {recipe} --model {stage.architecture}"
            + ("" if stage.variant in RUN_VARIANTS else f" --variant {stage.variant}")
            + (f" --seeds {further + 1}" if further > 0 else "")
        )
    make_stages((stage,))
    return read_report(stage.report_path)


def read_leaderboard(workspace: Workspace, recipe: str) -> Leaderboard:
    """Read the comparison of all models of a recipe, as ``cis490 run`` or ``report`` wrote it.

    Returns
    -------
    JSON values, in the form of ``docs/schema/leaderboard.schema.json``.

    Raises
    ------
    EvaluationError
        If it was not made yet, or is of another form.

    Examples
    --------
    >>> board = cis.read_leaderboard(cis.open_workspace(), "host")
    >>> [row["model"] for row in board["rows"] if row["selected"]]
    ['gbt_realistic', 'gbt_oracle']
    """
    path = workspace.paths.leaderboard(member(Recipe, recipe))
    if not path.is_file():
        raise EvaluationError(
            f"{path}: no leaderboard of split {recipe} yet; run: cis490 run --split {recipe}"
        )
    return read_form(path, Leaderboard)
