"""Locate the files of a split from flags that give any of them.

Flags of the older system give single folders and files, those of today also the folders above. Each
flag accepts all of these; files of another recipe are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from cis490_pipeline.checkpoints.manifest import MANIFEST as CHECKPOINT
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.domain.catalogue import MODELS, ON_REQUEST, FlatKind, Model
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import ConfigError, PipelineError, SplitError, StoreError
from cis490_pipeline.features.datasets.manifest import MANIFEST_FILE as DATASET
from cis490_pipeline.splits.persist import load_split
from cis490_pipeline.splits.split import Split
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.storage.files import read_json
from cis490_pipeline.storage.parquet import read_table, table_schema

_RECIPES: Final = frozenset(str(recipe) for recipe in Recipe)
_INDEX: Final = "validation_index.parquet"
_SPLIT: Final = "split_v1.json"
_SUMMARY: Final = "features_window_v1"
_TENSORS: Final = "tensor_window_v1"
_SIDE: Final = "side"
"""Column only in the index of a split."""
_STATUS: Final = "status"
"""Column in both indexes."""


@dataclass(frozen=True)
class Places:
    """Paths of the files of a split."""

    recipe: str
    validation: Path
    artifacts: Path
    summary: Path
    tensors: Path
    reports: Path

    def models(self) -> list[Model]:
        """Return the models of a run, and those of a variant on request that were trained."""
        return [
            *MODELS,
            *(m for m in ON_REQUEST if (self.artifacts / model_name(*m)).is_dir()),
        ]

    @classmethod
    def of(
        cls,
        recipe: str,
        *,
        validation: Path | None = None,
        artifacts: Path | None = None,
        summary: Path | None = None,
        tensors: Path | None = None,
        data_folder: Path | None = None,
    ) -> "Places":
        """Locate a split's files from the given flags, and for the rest in the data folder.

        Parameters
        ----------
        validation : acceptance index, the split's index, or the folder of either.
        artifacts : folder of the checkpoints of all recipes, or of this one.
        summary, tensors : dataset folder, a file in it, or a folder above it.
        data_folder : data folder; default: from the settings.

        Raises
        ------
        ConfigError
            If something belongs to another recipe or is of another kind, or is not given and the
            data are not in a local folder.
        """
        given = _Given(recipe, data_folder)
        summary_folder = given.dataset("--summary", summary, _SUMMARY)
        tensor_folder = given.dataset("--tensors", tensors, _TENSORS)
        beside = [folder.parent for folder in (summary_folder, tensor_folder) if folder.exists()]
        checkpoints = given.checkpoints(artifacts)
        places = cls(
            recipe=recipe,
            validation=given.index(validation, beside),
            artifacts=checkpoints,
            summary=summary_folder,
            tensors=tensor_folder,
            reports=given.reports(None if artifacts is None else checkpoints),
        )
        given.require_split("--validation", validation, places.validation.parent)
        given.require_split("--summary", summary, summary_folder.parent)
        given.require_split("--tensors", tensors, tensor_folder.parent)
        if given.problems:
            raise ConfigError("; ".join(given.problems))
        return places

    def split(self) -> Split:
        """Read the split, restricted to the episodes of its index.

        Raises `SplitError` if it is missing, damaged or was edited.
        """
        if not self.validation.is_file():
            raise SplitError(f"{self.validation}: no such file; make it with cis490 run")
        split = load_split(self.split_file)
        if str(split.recipe) != self.recipe:
            raise SplitError(
                f"{self.split_file}: holds a split of recipe {split.recipe}, wanted {self.recipe}"
            )
        try:
            return split.restricted(read_table(self.validation))
        except StoreError as damage:
            raise SplitError(
                f"{self.validation}: not readable as parquet ({damage}); make it with cis490 run"
            ) from damage

    @property
    def split_file(self) -> Path:
        """File with the persistent sides."""
        return self.validation.parent / _SPLIT

    @property
    def records(self) -> Path:
        """Folder of the records of what the pipeline made of the split, whose lock it holds.

        Of the data folder that the checkpoints lie in; checkpoints that lie alone have their own.
        """
        folder = DataPaths(self.artifacts.parent.parent).records(self.recipe)
        return folder if folder.parent.is_dir() else self.artifacts

    def require_train_hosts(self, hosts: tuple[str, ...]) -> None:
        """Refuse a split with other train hosts, with a `SplitError` naming both sets."""
        split = self.split()
        if split.recipe is not Recipe.HOST:
            raise SplitError(f"--train-hosts applies to recipe host, not to {split.recipe}")
        stored = sorted(split.parameters.get("train_hosts", ()))
        if sorted(set(hosts)) != stored:
            raise SplitError(
                f"{self.validation.parent}: the split trains on {', '.join(stored)}, wanted "
                f"{', '.join(sorted(set(hosts))) or 'none'}; make it with these hosts, or leave "
                "--train-hosts out"
            )


class _Given:
    """Resolves flags to paths, and collects problems."""

    def __init__(self, recipe: str, data_folder: Path | None) -> None:
        self._recipe = recipe
        self._data_folder = data_folder
        self.problems: list[str] = []

    @property
    def _data(self) -> DataPaths:
        data = self._data_folder or Settings.load().data
        if not isinstance(data, Path):
            raise ConfigError(f"producers read a local folder, got {data}; copy it to this machine")
        return DataPaths(data)

    def index(self, given: Path | None, beside: list[Path]) -> Path:
        """Locate the split's index; ``beside`` are folders of its datasets."""
        if given is None:
            return self._data.validation_index(self._recipe)
        path = _absolute(given)
        if path.is_dir():
            return _first_file(path / _INDEX, path / self._recipe / _INDEX)
        if path.name == _INDEX and not path.exists():
            return path
        below = path.parent / self._recipe / _INDEX
        if not path.exists():
            return below
        columns = self._columns(path)
        if _SIDE in columns:
            return path
        if _STATUS not in columns:
            self.problems.append(
                f"--validation {given}: neither an acceptance index ({_STATUS} missing) nor a "
                f"split's {_INDEX}"
            )
        return _first_file(below, *(folder / _INDEX for folder in beside))

    def checkpoints(self, given: Path | None) -> Path:
        """Locate the folder of the recipe's checkpoints."""
        if given is None:
            return self._data.root / "artifacts" / self._recipe
        path = _absolute(given)
        if (path / CHECKPOINT).is_file():
            self.problems.append(
                f"--artifacts {given}: one model's checkpoint; give the folder of the recipe"
            )
            return path.parent
        if (path / self._recipe).is_dir():
            return path / self._recipe
        if (
            any((path / model_name(*model)).is_dir() for model in (*MODELS, *ON_REQUEST))
            or path.name in _RECIPES
        ):
            self._require_named("--artifacts", given, path.name)
            return path
        return path / self._recipe

    def reports(self, checkpoints: Path | None) -> Path:
        """Locate the folder of the recipe's reports, in the data folder of given checkpoints."""
        if checkpoints is not None:
            return checkpoints.parent.parent / "reports" / self._recipe
        return self._data.root / "reports" / self._recipe

    def dataset(self, flag: str, given: Path | None, name: str) -> Path:
        """Locate the folder of a dataset."""
        if given is None:
            return self._data.recipe(self._recipe) / name
        path = _absolute(given)
        if path.is_file() or (path.suffix and not path.exists()):
            path = path.parent
        candidates = (path, path / name, path / self._recipe / name)
        folder = next((folder for folder in candidates if (folder / DATASET).is_file()), path)
        self._require_kind(
            flag, given, folder, get_args(FlatKind) if name == _SUMMARY else ("tensor",)
        )
        return folder

    def require_split(self, flag: str, given: Path | None, folder: Path) -> None:
        """Record a problem if a folder holds the files of another recipe."""
        if given is None:
            return
        try:
            held = read_json(folder / _SPLIT)
        except PipelineError:
            # Missing or damaged: reading the split reports it.
            held = None
        recipe = held.get("recipe") if isinstance(held, dict) else None
        self._require_named(flag, given, folder.name if recipe is None else recipe)

    def _require_named(self, flag: str, given: Path, name: str) -> None:
        if name in _RECIPES and name != self._recipe:
            self.problems.append(
                f"{flag} {given}: of recipe {name}, not {self._recipe}; "
                f"give --recipe {name}, or the files of {self._recipe}"
            )

    def _require_kind(self, flag: str, given: Path, folder: Path, kinds: tuple[str, ...]) -> None:
        try:
            held = read_json(folder / DATASET)
        except PipelineError:
            return
        actual = held.get("kind") if isinstance(held, dict) else None
        if actual is not None and actual not in kinds:
            wanted = " or ".join(kinds)
            self.problems.append(f"{flag} {given}: a dataset of kind {actual}, wanted {wanted}")

    def _columns(self, path: Path) -> set[str]:
        try:
            return set(table_schema(path))
        except (OSError, StoreError) as damage:
            self.problems.append(f"--validation {path}: not readable as parquet ({damage})")
            return {_STATUS}


def _absolute(path: Path) -> Path:
    """Return an absolute path; links are resolved only if it contains ``..``."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _first_file(first: Path, *others: Path) -> Path:
    """Return the first path that is a file; the first of all if none is."""
    files: Iterator[Path] = (path for path in (first, *others) if path.is_file())
    return next(files, first)
