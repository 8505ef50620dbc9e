"""Shortcuts a model may have learnt instead of signs: probes, the host's identity, calibration."""

from collections.abc import Mapping
from typing import Any

from cis490_pipeline.reporting.page.drawing import bar_end
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Board, Numbers
from cis490_pipeline.reporting.page.sections.calibration import ablation_view
from cis490_pipeline.reporting.page.sections.scores import probes
from cis490_pipeline.reporting.page.words import listed, shown


def view(numbers: Numbers) -> dict[str, Any]:
    """Return what the section on shortcuts shows."""
    identity = numbers.board.get("host_identity")
    return {
        "probes": probes(numbers.board),
        "summary": summary(numbers.board),
        "identity": identity_view(identity) if identity else None,
        "ablation": ablation_view(numbers.board),
        "not_measured": NOT_MEASURED,
    }


def summary(board: Board) -> str | None:
    """Say which probes the chosen model is shown to beat, and which not; None without any."""
    versus = board["best_vs_probe"]
    pairs = versus["comparisons"]
    if not pairs:
        return None
    controls = versus.get("controls") or []
    shortcuts = [pair for pair in pairs if pair["b"] not in controls]
    equal = [p["b"] for p in shortcuts if not (shown(p) and (p["difference"] or 0) > 0)]
    text = (
        f"{versus['model']} is shown to be better than {len(shortcuts) - len(equal)} of "
        f"{len(shortcuts)} shortcuts, on identical windows"
    )
    if equal:
        text += f"; not than {listed(list(map(_plain_name, equal)))}"
    if controls:
        names = listed(list(map(_plain_name, controls)))
        text += f". {names} sees real signal: it says what is left without a shortcut"
    return text + "."


def _plain_name(probe: str) -> str:
    return probe.removeprefix("probe_").replace("_", " ")


def identity_view(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return how well the host is told from each kind of feature, with the places of bars."""
    return {
        **found,
        "chance": bar_end(found.get("chance_balanced")),
        "rows": [
            {
                **row,
                "end": bar_end(row["balanced_accuracy"]),
                "low": bar_end(row["balanced_low"]),
                "high": bar_end(row["balanced_high"]),
            }
            for row in found["rows"]
        ],
    }
