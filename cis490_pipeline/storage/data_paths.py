"""Layout of the data folder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class DataPaths:
    """Paths of all artefacts below one data folder."""

    root: Path
    fetch: Callable[[Path], Path] = field(default=Path, compare=False)
    """Makes a requested file or folder available locally and returns its path."""

    @property
    def validation(self) -> Path:
        """Path of the verdicts of all episodes."""
        return self.fetch(self.root / "processed" / "validation_v1.parquet")

    @property
    def validation_journal(self) -> Path:
        """Path of the journal of a sweep in progress."""
        return self.root / "processed" / "validation_v1.journal.jsonl"

    def grids(self, schema_hash: str) -> Path:
        """Return the folder of one feature schema's grid shards, shared by all recipes."""
        return self.fetch(self.root / "processed" / "grids" / schema_hash[:16])

    def records(self, scope: str) -> Path:
        """Return the folder of the records of a scope: ``corpus``, or a recipe's name."""
        return self.root / "processed" / "records" / scope

    def recipe(self, recipe: str) -> Path:
        """Return the folder of one recipe's datasets."""
        return self.root / "processed" / recipe

    def validation_index(self, recipe: str) -> Path:
        """Return the path of the usable episodes with their side of the split."""
        return self.fetch(self.recipe(recipe) / "validation_index.parquet")

    def split(self, recipe: str) -> Path:
        """Return the path of the persisted split."""
        return self.fetch(self.recipe(recipe) / "split_v1.json")

    def feature_dir(self, recipe: str) -> Path:
        """Return the folder of the summary-feature dataset."""
        return self.fetch(self.recipe(recipe) / "features_window_v1")

    def tensor_dir(self, recipe: str) -> Path:
        """Return the folder of the tensor dataset's index and manifest."""
        return self.fetch(self.recipe(recipe) / "tensor_window_v1")

    def checkpoint(self, recipe: str, name: str) -> Path:
        """Return the checkpoint folder of a model; `name` is ``<architecture>_<variant>``."""
        return self.fetch(self.root / "artifacts" / recipe / name)

    def report_json(self, recipe: str, name: str) -> Path:
        """Return the path of a model's evaluation report."""
        return self.fetch(self.root / "reports" / recipe / f"{name}.json")

    def leaderboard(self, recipe: str) -> Path:
        """Return the path of a recipe's leaderboard."""
        return self.fetch(self.root / "reports" / recipe / "leaderboard.json")

    def made_from(self, recipe: str) -> Path:
        """Return the path of a leaderboard's provenance."""
        return self.fetch(self.root / "reports" / recipe / "made_from.json")

    def report_part(self, recipe: str, part: str) -> Path:
        """Return the path of a file drawn beside the page; `part` is ``<folder>/<name>``."""
        return self.root / "reports" / recipe / part

    def report_html(self, recipe: str) -> Path:
        """Return the path of the HTML report."""
        return self.fetch(self.root / "reports" / recipe / "report.html")

    def ablation(self, recipe: str) -> Path:
        """Return the path of the ablation of calibration modes with one architecture."""
        return self.fetch(self.root / "reports" / recipe / "ablation.json")

    def study(self, recipe: str) -> Path:
        """Return the path of the study of held-out profiles, hosts and times."""
        return self.fetch(self.root / "reports" / recipe / "study.json")

    @property
    def studies(self) -> Path:
        """Folder of the studies' windows (of all episodes) and trainings."""
        return self.root / "processed" / "studies"

    def study_windows(self, kind: str) -> Path:
        """Return the folder of the windows of all episodes for one kind of input."""
        return self.fetch(self.studies / f"{kind}_window_v1")

    def robustness(self, recipe: str) -> Path:
        """Return the path of the robustness report: each model under recording faults."""
        return self.fetch(self.root / "reports" / recipe / "robustness.json")

    def calibration(self, host: str) -> Path:
        """Return the path of a host's calibration record."""
        return self.root / "processed" / "calibrations" / f"{host}.json"

    @property
    def dagster(self) -> Path:
        """Dagster's own storage."""
        return self.root / "dagster"

    def lock(self, recipe: str) -> Path:
        """Return the path of the lock held by writers of a recipe."""
        return self.recipe(recipe) / ".lock"
