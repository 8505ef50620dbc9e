"""Where things lie in the data folder, which is made here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def _as_it_is(path: Path) -> Path:
    return path


@dataclass(frozen=True)
class DataPaths:
    """Paths of everything the pipeline makes, below one root."""

    root: Path
    bring: Callable[[Path], Path] = field(default=_as_it_is, compare=False)
    """Called with a file or folder that somebody asks for; returns it when it is at hand."""

    @property
    def validation(self) -> Path:
        """File of all episodes' verdicts."""
        return self.bring(self.root / "processed" / "validation_v1.parquet")

    @property
    def validation_journal(self) -> Path:
        """File of the verdicts that a sweep under way has made so far."""
        return self.root / "processed" / "validation_v1.journal.jsonl"

    def grids(self, schema_hash: str) -> Path:
        """Return the folder of the grid shards of one feature schema, shared by all recipes."""
        return self.bring(self.root / "processed" / "grids" / schema_hash[:16])

    def records(self, scope: str) -> Path:
        """Return the folder of the records of a scope: ``corpus``, or a recipe's name."""
        return self.root / "processed" / "records" / scope

    def recipe(self, recipe: str) -> Path:
        """Return the folder of one recipe's datasets."""
        return self.root / "processed" / recipe

    def validation_index(self, recipe: str) -> Path:
        """Return the file of usable episodes with their side of the split."""
        return self.bring(self.recipe(recipe) / "validation_index.parquet")

    def split(self, recipe: str) -> Path:
        """Return the file of the persistent sides."""
        return self.bring(self.recipe(recipe) / "split_v1.json")

    def feature_dir(self, recipe: str) -> Path:
        """Return the folder of the summary-feature dataset."""
        return self.bring(self.recipe(recipe) / "features_window_v1")

    def tensor_dir(self, recipe: str) -> Path:
        """Return the folder of the tensor dataset's index and manifest."""
        return self.bring(self.recipe(recipe) / "tensor_window_v1")

    def checkpoint(self, recipe: str, name: str) -> Path:
        """Return the folder of one trained model; `name` is ``<architecture>_<variant>``."""
        return self.bring(self.root / "artifacts" / recipe / name)

    def report_json(self, recipe: str, name: str) -> Path:
        """Return the evaluation report of one model."""
        return self.bring(self.root / "reports" / recipe / f"{name}.json")

    def leaderboard(self, recipe: str) -> Path:
        """Return the file that compares all models of a recipe."""
        return self.bring(self.root / "reports" / recipe / "leaderboard.json")

    def made_from(self, recipe: str) -> Path:
        """Return the file of what a leaderboard's numbers were made from."""
        return self.bring(self.root / "reports" / recipe / "made_from.json")

    def report_part(self, recipe: str, part: str) -> Path:
        """Return a file that is drawn beside the page; `part` is ``<folder>/<name>``."""
        return self.root / "reports" / recipe / part

    def report_html(self, recipe: str) -> Path:
        """Return the page for people."""
        return self.bring(self.root / "reports" / recipe / "report.html")

    def ablation(self, recipe: str) -> Path:
        """Return the file that compares ways of calibration, one architecture held fixed."""
        return self.bring(self.root / "reports" / recipe / "ablation.json")

    def study(self, recipe: str) -> Path:
        """Return the file of what models are worth on profiles, hosts and times left out."""
        return self.bring(self.root / "reports" / recipe / "study.json")

    @property
    def studies(self) -> Path:
        """Folder of what studies are made of: windows of all episodes, and trainings on some."""
        return self.root / "processed" / "studies"

    def study_windows(self, kind: str) -> Path:
        """Return the folder of the windows of all episodes, of one kind of input."""
        return self.bring(self.studies / f"{kind}_window_v1")

    def robustness(self, recipe: str) -> Path:
        """Return the file of what recording faults cost each model."""
        return self.bring(self.root / "reports" / recipe / "robustness.json")

    def calibration(self, host: str) -> Path:
        """Return the file of a host's calibration record."""
        return self.root / "processed" / "calibrations" / f"{host}.json"

    @property
    def dagster(self) -> Path:
        """Dagster's own storage."""
        return self.root / "dagster"

    def lock(self, recipe: str) -> Path:
        """Return the lock file of one recipe's writers."""
        return self.recipe(recipe) / ".lock"
