"""The report as one page: a single file that needs neither network nor script."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from cis490_pipeline.domain import CHANNELS
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation import html_view as view
from cis490_pipeline.evaluation.html_calibration import ablation_view, baselines_text
from cis490_pipeline.store.files import digest


def page_digest() -> str:
    """Digest of what draws the page: it is drawn again when this changes, the numbers are not."""
    folder = files("cis490_pipeline.evaluation")
    names = ("report.html", "report.css", "html.py", "html_view.py", "html_calibration.py")
    return digest({name: (folder / name).read_text(encoding="utf-8") for name in names})


def render_report(
    leaderboard: Mapping[str, Any],
    reports: Sequence[Mapping[str, Any]],
    *,
    split: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """Draw a leaderboard and its reports.

    Parameters
    ----------
    leaderboard : what ``leaderboard`` gave.
    reports : what ``evaluate`` gave, one for each row; models and probes in any order.
    split : ``Split.summary()``.
    provenance : what a reader needs to repeat it (commit, corpus digest, versions, …), shown as
        name and value.

    Returns
    -------
    HTML with its styles and drawings inside, nothing fetched and nothing run. Every name from
    outside is escaped.

    Raises
    ------
    EvaluationError
        If a row of the leaderboard has no report.
    """
    named = {report["model"]: report for report in reports}
    missing = [row["model"] for row in leaderboard["rows"] if row["model"] not in named]
    if missing:
        raise EvaluationError(f"the page needs the reports of {missing}")
    chosen = view.chosen_report(leaderboard, named)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "score": view.score,
        "signed": view.signed,
        "p": view.p_value,
        "phase": view.phase_name,
        "level": view.level,
        "thousands": view.thousands,
    }
    folder = files("cis490_pipeline.evaluation")
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    return template.render(
        board=leaderboard,
        split=split,
        provenance={str(k): view.provenance_text(v) for k, v in provenance.items()},
        chosen=chosen,
        style=(folder / "report.css").read_text(encoding="utf-8"),
        n_channels={
            "realistic": sum(channel.deployable for channel in CHANNELS),
            "oracle": len(CHANNELS),
        },
        heading=view.heading(leaderboard),
        tiles=view.tiles(leaderboard, named, chosen),
        bars=view.bars(leaderboard),
        probes=view.probes(leaderboard),
        confusion=view.confusion_rows(chosen["confusion"]),
        small_confusions=[
            {"report": report, "rows": view.confusion_rows(report["confusion"])}
            for report in view.in_board_order(leaderboard, named)
            if report["kind"] == "model"
        ],
        profile_map=view.profile_map(chosen),
        all_reports=view.in_board_order(leaderboard, named),
        pair_tables=view.pair_tables(leaderboard),
        views=view.view_rows(leaderboard),
        ablation=ablation_view(leaderboard),
        baselines=baselines_text(chosen),
    )
