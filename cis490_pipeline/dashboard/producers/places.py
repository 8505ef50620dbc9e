"""Where a split's files lie, found from whichever of them a flag names.

The older system's flags name single folders and files, today's also the folders above them. Each
flag takes any of these; what belongs to another split than the one asked for is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cis490_pipeline.checkpoints.manifest import MANIFEST as CHECKPOINT
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import ConfigError, PipelineError, SplitError, StoreError
from cis490_pipeline.features.datasets.manifest import MANIFEST_FILE as DATASET
from cis490_pipeline.splits.persist import load_split
from cis490_pipeline.splits.split import Split
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.storage.files import read_json
from cis490_pipeline.storage.parquet import read_table, table_schema

MODELS: Final = tuple(
    (architecture, variant) for architecture in Architecture for variant in Variant
)
_RECIPES: Final = frozenset(str(recipe) for recipe in Recipe)
_INDEX: Final = "validation_index.parquet"
_SPLIT: Final = "split_v1.json"
_SUMMARY: Final = "features_window_v1"
_TENSORS: Final = "tensor_window_v1"
_SIDE: Final = "side"
"""Column that only the index of a split has."""
_STATUS: Final = "status"
"""Column that both indexes have."""


@dataclass(frozen=True)
class Places:
    """Where a split's files lie."""

    recipe: str
    validation: Path
    artifacts: Path
    summary: Path
    tensors: Path
    reports: Path

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
        """Find a split's files from the flags that were given and, for the rest, the data folder.

        Parameters
        ----------
        recipe : of the split.
        validation : the acceptance index, the split's index, or the folder of either.
        artifacts : the folder of all splits' checkpoints, or of this split's.
        summary, tensors : a dataset's folder, a file in it, or a folder above it.
        data_folder : by default the settings'.

        Raises
        ------
        ConfigError
            If something is of another split, is of another kind, or was not given and the data are
            no folder of this machine.
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
        """Read the split, over the episodes of its index.

        Raises
        ------
        SplitError
            If it is missing, damaged or was edited.
        """
        if not self.validation.is_file():
            raise SplitError(f"{self.validation}: no such file; make it with cis490 run")
        split = load_split(self.split_file)
        if str(split.recipe) != self.recipe:
            raise SplitError(
                f"{self.split_file}: holds the split {split.recipe}, asked for {self.recipe}"
            )
        try:
            return split.restricted(read_table(self.validation))
        except StoreError as damage:
            raise SplitError(
                f"{self.validation}: not readable as parquet ({damage}); make it with cis490 run"
            ) from damage

    @property
    def split_file(self) -> Path:
        """File of the persistent sides."""
        return self.validation.parent / _SPLIT

    def require_train_hosts(self, hosts: tuple[str, ...]) -> None:
        """Refuse a split that trains on other hosts than these.

        Raises
        ------
        SplitError
            Naming both.
        """
        split = self.split()
        if split.recipe is not Recipe.HOST:
            raise SplitError(f"--train-hosts is of the split host, not of {split.recipe}")
        stored = sorted(split.parameters.get("train_hosts", ()))
        if sorted(set(hosts)) != stored:
            raise SplitError(
                f"{self.validation.parent}: the split trains on {', '.join(stored)}, asked for "
                f"{', '.join(sorted(set(hosts))) or 'none'}; make it with these hosts, or leave "
                "--train-hosts out"
            )


class _Given:
    """Flags on their way to places, and what is wrong with them."""

    def __init__(self, recipe: str, data_folder: Path | None) -> None:
        self._recipe = recipe
        self._data_folder = data_folder
        self.problems: list[str] = []

    @property
    def _data(self) -> DataPaths:
        data = self._data_folder or Settings.load().data
        if not isinstance(data, Path):
            raise ConfigError(f"producers read a folder of this machine, got {data}; bring it here")
        return DataPaths(data)

    def index(self, given: Path | None, beside: list[Path]) -> Path:
        """Find the split's index; ``beside`` are folders of datasets of the split."""
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
        """Find the folder of the split's checkpoints."""
        if given is None:
            return self._data.root / "artifacts" / self._recipe
        path = _absolute(given)
        if (path / CHECKPOINT).is_file():
            self.problems.append(
                f"--artifacts {given}: one model's checkpoint; give the folder of the split"
            )
            return path.parent
        if (path / self._recipe).is_dir():
            return path / self._recipe
        if any((path / model_name(*model)).is_dir() for model in MODELS) or path.name in _RECIPES:
            self._require_named("--artifacts", given, path.name)
            return path
        return path / self._recipe

    def reports(self, checkpoints: Path | None) -> Path:
        """Find the folder of the split's reports: of the data that given checkpoints lie in."""
        if checkpoints is not None:
            return checkpoints.parent.parent / "reports" / self._recipe
        return self._data.root / "reports" / self._recipe

    def dataset(self, flag: str, given: Path | None, name: str) -> Path:
        """Find the folder of a dataset."""
        if given is None:
            return self._data.recipe(self._recipe) / name
        path = _absolute(given)
        if path.is_file() or (path.suffix and not path.exists()):
            path = path.parent
        candidates = (path, path / name, path / self._recipe / name)
        found = next((folder for folder in candidates if (folder / DATASET).is_file()), path)
        self._require_kind(flag, given, found, "summary" if name == _SUMMARY else "tensor")
        return found

    def require_split(self, flag: str, given: Path | None, folder: Path) -> None:
        """Note a folder that holds another split's files."""
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
                f"{flag} {given}: of the split {name}, not {self._recipe}; "
                f"give --split-recipe {name}, or the files of {self._recipe}"
            )

    def _require_kind(self, flag: str, given: Path, folder: Path, kind: str) -> None:
        try:
            held = read_json(folder / DATASET)
        except PipelineError:
            return
        found = held.get("kind") if isinstance(held, dict) else None
        if found is not None and found != kind:
            self.problems.append(f"{flag} {given}: a dataset of kind {found}, wanted {kind}")

    def _columns(self, path: Path) -> set[str]:
        try:
            return set(table_schema(path))
        except (OSError, StoreError) as damage:
            self.problems.append(f"--validation {path}: not readable as parquet ({damage})")
            return {_STATUS}


def _absolute(path: Path) -> Path:
    """Return a path whose last part is a name; links are followed only where ``..`` is."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _first_file(first: Path, *others: Path) -> Path:
    """Return the first that is a file; the first of all if none is."""
    found: Iterator[Path] = (path for path in (first, *others) if path.is_file())
    return next(found, first)
