"""Stage of a named text file, for tests of how stages are made."""

from pathlib import Path

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage
from cis490_pipeline.experiment.stages.workspace import Workspace


class TextStage(RecipeStage):
    """One text file, of the stage's key."""

    def __init__(self, workspace: Workspace, key: str) -> None:
        super().__init__(workspace, Recipe.HOST)
        self._key = key

    @property
    def key(self) -> str:
        return self._key

    @property
    def path(self) -> Path:
        return self.workspace.paths.root / f"{self.key}.txt"
