"""What a page is drawn from, and which model it speaks of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cis490_pipeline.domain import Recipe, Variant
from cis490_pipeline.errors import EvaluationError

Report = Mapping[str, Any]
Board = Mapping[str, Any]

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
    split: Mapping[str, Any]
    provenance: Mapping[str, Any]
    checkpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each model's checkpoint says of itself, by model; models may be absent."""

    @classmethod
    def of(cls, board: Board, reports: Sequence[Report], **others: Any) -> "Numbers":
        """Put a leaderboard and its reports together.

        Raises
        ------
        EvaluationError
            If a row of the leaderboard has no report.
        """
        named = {report["model"]: report for report in reports}
        missing = [row["model"] for row in board["rows"] if row["model"] not in named]
        if missing:
            raise EvaluationError(f"the page needs the reports of {missing}")
        return cls(board=board, named=named, **others)

    @property
    def chosen(self) -> Report:
        """Report of the model one may speak of: realistic, best on validation.

        Where there is no realistic model it is the oracle's, and without any the first row's.
        """
        selected = self.board["selected"]
        name = selected.get(Variant.REALISTIC) or selected.get(Variant.ORACLE)
        return self.named[name if name is not None else self.board["rows"][0]["model"]]

    @property
    def chosen_oracle(self) -> Report | None:
        """Report of the best oracle on validation, if it is not the chosen model itself."""
        name = self.board["selected"].get(Variant.ORACLE)
        return self.named[name] if name not in (None, self.chosen["model"]) else None

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

    def having(self, name: str) -> list[Report]:
        """Models whose report holds a part that older ones lack."""
        return [report for report in self.models if report.get(name)]
