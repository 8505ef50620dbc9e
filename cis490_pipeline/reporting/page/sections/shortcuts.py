"""Shortcuts a model may have learnt instead of signs: probes, the host's identity, calibration."""

from typing import TypedDict

from cis490_pipeline.evaluation.schema.board import (
    AblationRow,
    DrawnEpisodes,
    HostIdentity,
    HostIdentityRow,
    LargestHost,
)
from cis490_pipeline.reporting.page.drawing import bar_end
from cis490_pipeline.reporting.page.numbers import NOT_MEASURED, Board, Numbers
from cis490_pipeline.reporting.page.sections.recorder import RecorderView, recorder_view
from cis490_pipeline.reporting.page.sections.scores import ProbeBar, probes
from cis490_pipeline.reporting.page.words import listed, shown


class AblationView(TypedDict):
    """The table of calibrations."""

    rows: list[AblationRow]
    model: str
    n_calibration: int
    drawn: list[tuple[str, DrawnEpisodes]]
    refused: list[tuple[str, str]]
    suspect: list[str]


class IdentityBar(HostIdentityRow):
    """Prediction of the host from one kind of feature, with the places of its bar."""

    end: str | None
    low: str | None
    high: str | None


class IdentityView(TypedDict):
    """Host identity as it is drawn."""

    what: str
    n_hosts: int
    n_episodes: int
    largest_host: LargestHost | None
    why: str | None
    chance: str | None
    rows: list[IdentityBar]


class ShortcutsView(TypedDict):
    """The section on shortcuts."""

    probes: list[ProbeBar]
    summary: str | None
    identity: IdentityView | None
    recorder: RecorderView | None
    ablation: AblationView
    not_measured: str


def view(numbers: Numbers) -> ShortcutsView:
    """Return what the section on shortcuts shows."""
    identity = numbers.board.get("host_identity")
    controls = numbers.board.get("controls")
    return {
        "probes": probes(numbers.board),
        "summary": summary(numbers.board),
        "identity": identity_view(identity) if identity else None,
        "recorder": recorder_view(controls) if controls else None,
        "ablation": ablation_view(numbers.board),
        "not_measured": NOT_MEASURED,
    }


def summary(board: Board) -> str | None:
    """Write which probes the chosen model is shown to beat, and which not; None without any."""
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


def identity_view(identity: HostIdentity) -> IdentityView:
    """Place a bar for each kind of feature that the host was predicted from."""
    return {
        "what": identity["what"],
        "n_hosts": identity["n_hosts"],
        "n_episodes": identity["n_episodes"],
        "largest_host": identity["largest_host"],
        "why": identity["why"],
        "chance": bar_end(identity["chance_balanced"]),
        "rows": [
            {
                **row,
                "end": bar_end(row["balanced_accuracy"]),
                "low": bar_end(row["balanced_low"]),
                "high": bar_end(row["balanced_high"]),
            }
            for row in identity["rows"]
        ],
    }


def ablation_view(board: Board) -> AblationView:
    """Gather the table of calibrations; without rows where none was computed."""
    of = board["ablation_of"]
    return {
        "rows": board["ablation"],
        "model": f"{of['architecture']}_{of['variant']}" if of else "",
        "n_calibration": len(of.get("calibration_episodes", [])),
        "drawn": list(of.get("drawn", {}).items()),
        "refused": sorted(of.get("hosts_refused", {}).items()),
        "suspect": of.get("hosts_suspect", []),
    }
