"""The model of each variant that one may speak of, chosen without its scores on the test side."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.evaluation.generalization.host_out import best_on_host_out, ensembles_borne_out
from cis490_pipeline.evaluation.schema.board import Leaderboard, SelectedBy
from cis490_pipeline.evaluation.schema.host_out import HostOutStudy
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.schema.study import CarriedStudy

VAL: Final[SelectedBy] = "val"
HOST_OUT: Final[SelectedBy] = "host_out"
MIN_CANDIDATES: Final = 2
"""Of one model that was studied nothing was chosen."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen model of each variant, and what it was chosen by.

    Attributes
    ----------
    selected : by variant; a variant on request only if a model has it.
    by : of the variants whose model was not chosen on validation.
    """

    selected: dict[str, str | None]
    by: dict[str, SelectedBy]

    @property
    def first(self) -> str | None:
        """The chosen model of the first variant that has one: realistic before oracle."""
        return next(filter(None, (self.selected.get(variant) for variant in Variant)), None)


def choose(reports: Sequence[EvalReport], study: CarriedStudy | None = None) -> Choice:
    """Choose each variant's model: over hosts left out where that was studied, else on validation.

    Parameters
    ----------
    reports : of the models of a board; those of ensembles are passed over, having no checkpoint.
    study : as the board carries it.

    Notes
    -----
    Hosts left out decide if the study is current, opened no episode of the test side, and scored
    two models of the variant. Models that it did not score are no candidates then.
    """
    section = trusted_host_out(study)
    models = [report for report in reports if report["kind"] == "model"]
    selected: dict[str, str | None] = {}
    by: dict[str, SelectedBy] = {}
    for variant in Variant:
        best = _best_over_hosts(models, variant, section) if section is not None else None
        if best is not None:
            by[str(variant)] = HOST_OUT
        else:
            best = selected_model(models, variant)
        if best is not None or variant in RUN_VARIANTS:
            selected[str(variant)] = best
    return Choice(selected=selected, by=by)


def trusted_host_out(study: CarriedStudy | None) -> HostOutStudy | None:
    """Section on hosts left out by which one may choose: current, and the test side unopened."""
    if study is None or study["status"] != "current":
        return None
    section = study.get("host_out")
    return None if section is None or section["why"] or section["opened_test"] else section


def chosen_by(board: Leaderboard, variant: str) -> SelectedBy:
    """Return what chose a variant's model of a stored board."""
    return board.get("selected_by", {}).get(variant, VAL)


def shown_ensembles(study: CarriedStudy | None, models: Collection[str]) -> dict[str, list[str]]:
    """Parts of each ensemble that a board of these models shows, by its name.

    Those that hosts left out bear out. Validation is not asked where there is no such study: on one
    host it cannot tell.
    """
    section = trusted_host_out(study)
    borne_out = ensembles_borne_out(section) if section is not None else {}
    return {name: parts for name, parts in borne_out.items() if {*parts} <= {*models}}


def selected_model(reports: Sequence[EvalReport], variant: Variant) -> str | None:
    """Name of a variant's best model on validation; None if no model has a score there."""
    scored = [
        (-score, report["model"])
        for report in reports
        if report["variant"] == variant and (score := report["val"]["macro_f1"]) is not None
    ]
    return min(scored)[1] if scored else None


def _best_over_hosts(
    models: Sequence[EvalReport], variant: Variant, section: HostOutStudy
) -> str | None:
    scored = {row["model"] for row in section["rows"] if row["macro_f1"] is not None}
    names = {report["model"] for report in models if report["variant"] == variant} & scored
    return best_on_host_out(section["rows"], names) if len(names) >= MIN_CANDIDATES else None
