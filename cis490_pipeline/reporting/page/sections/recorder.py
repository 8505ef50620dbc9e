"""What the recorder shows of itself: steps at shams of controls, recording blocks, and models."""

from typing import Final, TypedDict

from cis490_pipeline.evaluation.probes.control_steps import clearness
from cis490_pipeline.evaluation.schema.controls import (
    BlockPrediction,
    Controls,
    ControlSteps,
    FalseAround,
    ModelControlScore,
    Quarantined,
    StepRow,
)
from cis490_pipeline.reporting.page.drawing import bar_end
from cis490_pipeline.reporting.page.words import counted, listed

_N_SHOWN: Final = 10


class StepLine(TypedDict):
    """The clearest step of one channel, and whether it is quarantined."""

    row: StepRow
    quarantined: bool
    verdict: str


class BlockBar(TypedDict):
    """Prediction of the recording's block from one kind of feature, with the places of its bar."""

    block: BlockPrediction
    end: str | None
    low: str | None
    high: str | None
    chance: str | None


class ModelLine(TypedDict):
    """A model's predictions of controls."""

    score: ModelControlScore
    around: FalseAround


class RecorderView(TypedDict):
    """What the recorder shows, as it is drawn."""

    summary: str
    why: str | None
    reasons: list[str]
    unreadable: list[tuple[str, str]]
    steps: list[StepLine]
    blocks: list[BlockBar]
    models: list[ModelLine]


def recorder_view(controls: Controls) -> RecorderView:
    """Place what controls and blocks show; ``why`` alone where there are none."""
    steps = controls["steps"]
    return {
        "summary": _summary(steps) if steps else "",
        "why": controls["why"],
        "reasons": list(map(_reason, steps["quarantined"])) if steps else [],
        "unreadable": sorted(controls["unreadable"].items()),
        "steps": _lines(steps) if steps else [],
        "blocks": [_bar(block) for block in controls["blocks"]],
        "models": [
            {"score": score, "around": score["around"][0]}
            for score in controls["models"]
            if score["why"] is None
        ],
    }


def _summary(steps: ControlSteps) -> str:
    """Write which channels are quarantined, or why none is."""
    n_hosts = len(steps["controls_by_host"])
    of = (
        f"{counted(steps['n_steps'], 'sham')} in {counted(steps['n_controls'], 'clean control')} "
        f"of {counted(n_hosts, 'host')}"
    )
    if steps["why"]:
        return f"{of}; nothing is quarantined ({steps['why']})."
    names = [channel["channel"] for channel in steps["quarantined"]]
    if not names:
        return f"{of}: no channel steps there at the level {steps['level']:g} by Holm."
    return f"{of}: {listed(names)} {'steps' if len(names) == 1 else 'step'} there without malware."


def _reason(channel: Quarantined) -> str:
    """Write why a channel is quarantined, and what it does where a look-alike begins."""
    n, step = channel["n_look_alikes"], channel["look_alike"]
    beside = f"; by {step:+.4g} where look-alikes begin ({n} times)" if step is not None else ""
    return f"{channel['channel']} {channel['reason']}{beside}"


def _lines(steps: ControlSteps) -> list[StepLine]:
    quarantined = {channel["channel"] for channel in steps["quarantined"]}
    tested = (row for row in steps["rows"] if row["p_holm"] is not None)
    shown = sorted(tested, key=clearness)[: max(_N_SHOWN, len(quarantined))]
    otherwise = "too few controls" if steps["why"] else "no step shown"
    return [
        {
            "row": row,
            "quarantined": row["channel"] in quarantined,
            "verdict": "quarantine" if row["channel"] in quarantined else otherwise,
        }
        for row in shown
    ]


def _bar(block: BlockPrediction) -> BlockBar:
    scores = block["scores"]
    return {
        "block": block,
        "end": bar_end(scores["balanced_accuracy"]) if scores else None,
        "low": bar_end(scores["balanced_low"]) if scores else None,
        "high": bar_end(scores["balanced_high"]) if scores else None,
        "chance": bar_end(block["chance_balanced"]),
    }
