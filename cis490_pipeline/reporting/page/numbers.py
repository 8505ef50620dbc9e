"""Input of the page: the leaderboard, its reports and their origin, and the chosen model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cis490_pipeline.domain import Recipe, Variant
from cis490_pipeline.domain.split_summary import SplitSummary
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.choice import HOST_OUT, chosen_by
from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.origin import CheckpointSummary, Provenance
from cis490_pipeline.evaluation.schema.report import EvalReport

Report = EvalReport
Board = Leaderboard

NOT_MEASURED: Final = "not measured: these reports were made without it; make them again"

_HELD_OUT: Final[Mapping[str, tuple[str, str]]] = {
    Recipe.HOST: ("held out by host", "unseen devices"),
    Recipe.SAMPLE: ("held out by sample", "unseen samples"),
    Recipe.TIME: ("held out by time", "later episodes"),
}


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A leaderboard, its reports, and what they were made from."""

    board: Board
    named: Mapping[str, Report]
    """Reports by model, probes among them."""
    split: SplitSummary
    provenance: Provenance
    checkpoints: Mapping[str, CheckpointSummary] = field(default_factory=dict)
    """Description of each model's checkpoint, by model; models may be absent."""

    @classmethod
    def of(
        cls,
        board: Board,
        reports: Sequence[Report],
        *,
        split: SplitSummary,
        provenance: Provenance,
        checkpoints: Mapping[str, CheckpointSummary] | None = None,
    ) -> "Numbers":
        """Put a leaderboard and its reports together; EvaluationError if a row has no report."""
        named = {report["model"]: report for report in reports}
        missing = [row["model"] for row in board["rows"] if row["model"] not in named]
        if missing:
            raise EvaluationError(f"the page needs the reports of {missing}")
        return cls(
            board=board,
            named=named,
            split=split,
            provenance=provenance,
            checkpoints=checkpoints or {},
        )

    @property
    def chosen(self) -> Report:
        """Report of the chosen model: realistic, best on validation or over hosts left out.

        Where there is no realistic model it is the next variant's, and without any the first row's.
        """
        selected = self.board["selected"]
        name = next(filter(None, (selected.get(variant) for variant in Variant)), None)
        return self.named[name if name is not None else self.board["rows"][0]["model"]]

    @property
    def chosen_oracle(self) -> Report | None:
        """Report of the chosen oracle, if it is not the chosen model itself."""
        name = self.board["selected"].get(Variant.ORACLE)
        return self.named[name] if name not in (None, self.chosen["model"]) else None

    @property
    def chosen_on(self) -> str:
        """What the chosen model was chosen on, in words."""
        if chosen_by(self.board, str(self.chosen["variant"])) == HOST_OUT:
            return "devices left out in turn"
        return f"validation ({self.board['selected_on']})"

    @property
    def reports(self) -> list[Report]:
        """All reports in the order of the leaderboard's rows."""
        return [self.named[row["model"]] for row in self.board["rows"]]

    @property
    def models(self) -> list[Report]:
        """The models' reports, without the probes', in the order of the leaderboard."""
        return [report for report in self.reports if report["kind"] == "model"]

    @property
    def held_out(self) -> str:
        """What the test side holds out, in words."""
        return self._words[0]

    @property
    def tested_on(self) -> str:
        """What the test side is, in words."""
        return self._words[1]

    @property
    def _words(self) -> tuple[str, str]:
        split = self.board["split"]
        return _HELD_OUT.get(split, (f"split {split}", "the test side"))
