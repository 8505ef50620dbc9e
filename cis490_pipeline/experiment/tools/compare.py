"""Finding the predictions of two runs, and comparing them."""

from collections.abc import Mapping
from itertools import starmap
from pathlib import Path
from typing import Final

from cis490_pipeline.checkpoints.describe import Description, describe
from cis490_pipeline.domain import Recipe
from cis490_pipeline.domain.catalogue import MODELS, ON_REQUEST
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.compare_runs import Run, RunComparison, compare_runs
from cis490_pipeline.evaluation.predictions import read_predictions
from cis490_pipeline.experiment.pipeline.training import FURTHER
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.storage.files import digest

CHECKPOINT: Final = "checkpoint"
DATA: Final = "data folder"
_MANIFEST: Final = "predictions.json"
_NO_SETTING: Final = frozenset({"seed", "threads"})


class FolderComparison(RunComparison):
    """Differences of two runs, with the folders they were read from."""

    first_run: str
    second_run: str
    only_in: dict[str, list[str]]


def compare_folders(
    first: Path, second: Path, recipe: Recipe, *, seed: int = 0
) -> FolderComparison:
    """Compare two runs, each named by a checkpoint's, data or report folder.

    Parameters
    ----------
    first, second : two checkpoint folders (whatever the models), or two data or report folders;
        of those all models that both have are compared.
    recipe : split to look at in data folders; a report folder is of one split.
    seed : of the draws.

    Returns
    -------
    The comparison, the two folders, and in ``only_in`` the models that one of them lacks.

    Raises
    ------
    EvaluationError
        If a folder holds no predictions, the two are of different kinds, have no model in common,
        or were not scored on the same windows.
    """
    (kind, ones), (other_kind, others) = (_models_in(folder, recipe) for folder in (first, second))
    if kind != other_kind:
        raise EvaluationError(
            f"{first} is a {kind} and {second} a {other_kind}; name two of one kind"
        )
    only: dict[str, list[str]] = {}
    if kind == CHECKPOINT:
        (one,), (other,) = ones, others
        pairs = {one if one == other else f"{other} − {one}": (ones[one], others[other])}
    else:
        pairs = {name: (ones[name], others[name]) for name in ones if name in others}
        if not pairs:
            raise EvaluationError(
                f"no model is in both: {first} has {', '.join(ones)}; "
                f"{second} has {', '.join(others)}"
            )
        only = {
            str(first): sorted(ones.keys() - others.keys()),
            str(second): sorted(others.keys() - ones.keys()),
        }
    runs = {
        name: (read_run(one, first), read_run(other, second))
        for name, (one, other) in pairs.items()
    }
    return {
        "first_run": str(first),
        "second_run": str(second),
        "only_in": only,
        **compare_runs(runs, seed=seed),
    }


def _models_in(folder: Path, recipe: Recipe) -> tuple[str, Mapping[str, Path]]:
    """Name the kind of a folder, and where its models' predictions lie."""
    if (folder / _MANIFEST).is_file():
        further = folder.name.startswith(FURTHER)
        return CHECKPOINT, {
            f"{folder.parent.name}.{folder.name}" if further else folder.name: folder
        }
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder; name a data folder or a checkpoint's")
    root, split = folder, str(recipe)
    if (folder / "leaderboard.json").is_file() and folder.parent.name == "reports":
        root, split = folder.parent.parent, folder.name
    paths = DataPaths(root)
    names = starmap(model_name, (*MODELS, *ON_REQUEST))
    folders = {name: paths.checkpoint(split, name) for name in names}
    found = {name: path for name, path in folders.items() if (path / _MANIFEST).is_file()}
    if not found:
        raise EvaluationError(
            f"{folder}: no predictions of split {split} ({root / 'artifacts' / split}/*/"
            f"{_MANIFEST}); differences are paired by episode, for which scores are not enough. "
            f"Run: cis490 run --split {split} --data {root}"
        )
    return DATA, found


def read_run(folder: Path, run: Path) -> Run:
    """Read a checkpoint's predictions, and what it was made of.

    Parameters
    ----------
    folder : of the checkpoint.
    run : what the user named, by which messages call it.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged, or of another format.
    EvaluationError
        If the predictions are missing, damaged, or not of the checkpoint beside them.
    """
    described = describe(folder)
    frame = read_predictions(folder, checkpoint_digest=str(described["digest"]))
    return Run(name=str(run), frame=frame, made_of=made_of(described))


def made_of(described: Description) -> dict[str, str]:
    """Return what a described checkpoint was made of, by the names ``compare_runs`` knows."""
    settings = {k: v for k, v in described["config"].items() if k not in _NO_SETTING}
    settings |= {
        "calibration": described["calibration"],
        "scaling": described["scaling"],
        "drifting_gauges": described["drifting_gauges"],
        **({"quarantine": ", ".join(described["quarantine"])} if "quarantine" in described else {}),
    }
    return {
        "seed": str(described["seed"]),
        "model": f"{described['model']} {described['architecture_version']}",
        "settings": digest(settings),
        "data": str(described["data_digest"]),
        "split": str(described["split_digest"]),
        "features": str(described["feature_schema"]),
        "code": str(described["commit"]),
    }
