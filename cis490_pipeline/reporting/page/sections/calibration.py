"""Calibration modes compared, and the baselines they rest on."""

from typing import TypedDict

from cis490_pipeline.evaluation.schema.board import AblationRow, Leaderboard
from cis490_pipeline.reporting.page.numbers import Report


class AblationView(TypedDict):
    """The table of calibrations."""

    rows: list[AblationRow]
    model: str
    n_calibration: int
    refused: list[tuple[str, str]]
    suspect: list[str]


def ablation_view(board: Leaderboard) -> AblationView:
    """Gather the table of calibrations; without rows where none was computed."""
    of = board["ablation_of"]
    return {
        "rows": board["ablation"],
        "model": f"{of['architecture']}_{of['variant']}" if of else "",
        "n_calibration": len(of.get("calibration_episodes", [])),
        "refused": sorted(of.get("hosts_refused", {}).items()),
        "suspect": of.get("hosts_suspect", []),
    }


def baselines_text(report: Report) -> str:
    """Write of how many test episodes the baseline was checked, and which were flagged."""
    found = report["baselines"]["test"]
    if not found["n_checked"]:
        return f"not checked: none of {found['n_episodes']} test episodes"
    named = f": {', '.join(found['suspect'])}" if found["suspect"] else ""
    return f"{found['n_suspect']} of {found['n_checked']} test episodes{named}"
