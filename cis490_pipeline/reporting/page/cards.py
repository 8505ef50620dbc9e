"""Model cards (Mitchell et al., 2019): one source for the page and for Markdown files."""

from typing import Final, TypedDict

from cis490_pipeline.evaluation.schema.alarm import Detection
from cis490_pipeline.evaluation.schema.origin import CheckpointSummary
from cis490_pipeline.reporting.escaping import markdown_escape
from cis490_pipeline.reporting.page.numbers import Numbers, Report
from cis490_pipeline.reporting.page.words import (
    between,
    counted,
    device_time,
    listed,
    percent,
    phase_name,
    plain_text,
    rate,
    score,
    seconds,
    thousands,
)

Items = list[tuple[str, str]]


class Part(TypedDict):
    """A titled list of facts: name and text."""

    title: str
    items: Items


class Card(TypedDict):
    """What a person must know before using a model."""

    model: str
    headline: str
    parts: list[Part]


class CardsView(TypedDict):
    """The section on model cards."""

    cards: list[Card]


_VIEWS: Final = {
    "realistic": "the channels a device has of its own; it can be deployed as it stands",
    "oracle": "the lab's channels too, which no device in the field has: an upper bound, not for "
    "deployment",
    "network": "its traffic alone, as a gateway or a capture has it: nothing of its processor, "
    "memory or disk",
}
_NOT_FOR: Final = (
    "to clear a device of suspicion, to act on a single window, on devices without the recorded "
    "sources, or without a baseline taken while the device was clean"
)


def view(numbers: Numbers) -> CardsView:
    """Return the cards of all models, in the order of the leaderboard."""
    return {"cards": [model_card(report, numbers) for report in numbers.models]}


def model_card(report: Report, numbers: Numbers) -> Card:
    """Gather what a person must know before using a model; what is not known is left out or marked.

    Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
    """
    described = numbers.checkpoints.get(report["model"])
    parts = (
        ("Use", _use(report)),
        ("Data", _data(report, numbers)),
        ("Model and training", _training(report, described)),
        ("Metrics", _metrics(report)),
        ("Limits", _limits(report, numbers)),
    )
    return {
        "model": report["model"],
        "headline": f"macro F1 {score(report['macro_f1'])} ({between(report)}), {numbers.held_out}",
        "parts": [{"title": title, "items": items} for title, items in parts],
    }


def card_markdown(card: Card) -> str:
    """Write a card as a Markdown file; text from outside is escaped."""
    lines = [f"# {markdown_escape(card['model'])}", "", markdown_escape(card["headline"]), ""]
    for part in card["parts"]:
        lines += [f"## {part['title']}", ""]
        lines += [
            f"- **{markdown_escape(name)}:** {markdown_escape(text)}"
            for name, text in part["items"]
        ]
        lines.append("")
    return "\n".join(lines)


def _use(report: Report) -> Items:
    return [
        (
            "intended",
            (
                "to tell from 10 s of a device's telemetry which of five phases it is in, "
                "as one sign among others that a person looks at"
            ),
        ),
        ("not intended", _NOT_FOR),
        ("sees", _VIEWS.get(report["variant"] or "", "not recorded")),
    ]


def _data(report: Report, numbers: Numbers) -> Items:
    sides = numbers.split["counts"]
    shared = {name: values for name, values in numbers.split["shared"].items() if values}
    return [
        (
            "split",
            f"{report['split']} v{report['version']}: "
            + ", ".join(f"{side} {thousands(n)}" for side, n in sides.items())
            + " episodes",
        ),
        (
            "train and test share",
            "; ".join(f"{name}: {', '.join(values)}" for name, values in shared.items())
            or "no host, sample or profile",
        ),
        ("chosen on", str(report["selected_on"])),
    ]


def _training(report: Report, described: CheckpointSummary | None) -> Items:
    training = report.get("training") or {}
    items = [("architecture", plain_text(report["architecture"]))]
    if described:
        items += [
            ("input", described["input"]),
            ("parameters", _parameters(described)),
            ("settings", plain_text(described["config"])),
            ("checkpoint", described["digest"]),
            ("data digest", described["data_digest"]),
            ("feature schema", described["feature_schema"]),
            ("commit", str(described["commit"])),
        ]
        if (wall := described.get("seconds")) is not None:
            items.append(("wall time of training", seconds(wall)))
    elif report["checkpoint_digest"]:
        items.append(("checkpoint", report["checkpoint_digest"]))
    recorded = {name.replace("_", " "): plain_text(value) for name, value in training.items()}
    return items + list(recorded.items())


def _parameters(described: CheckpointSummary) -> str:
    if described["booster_bytes"]:
        return f"trees of {described['booster_bytes'] / 1e3:,.0f} kB"
    return thousands(described["parameters"])


def _metrics(report: Report) -> Items:
    n = f"{counted(report['n_episodes'], 'episode')}, {counted(report['n_windows'], 'window')}"
    classes = [f"{phase_name(c['phase'])} {score(c['f1'])}" for c in report["per_class"]]
    items = [
        ("macro F1 on test", f"{score(report['macro_f1'])} ({between(report)}), {n}"),
        (
            "macro F1 on validation",
            f"{score(report['val']['macro_f1'])} ({between(report['val'])})",
        ),
        ("F1 by phase", ", ".join(classes)),
        (
            "balanced accuracy, MCC",
            f"{score(report['balanced_accuracy'])}, {score(report['matthews'])}",
        ),
        ("calibration error", score(report["calibration_error"], 3)),
    ]
    worst = report["host_minimum"]
    if worst is not None:
        items.append(("hardest device", f"{worst['host_id']}: {score(worst['macro_f1'])}"))
    return items + _alarm(report.get("detection"))


def _alarm(detection: Detection | None) -> Items:
    if not detection:
        return [("alarm", "not measured")]
    time, false = detection["time_to_detection"], detection["false_alarms"]
    days = f"{device_time(false['device_days'])} of clean time"
    alarms = f"{rate(false['per_day'])} a device-day over {days}"
    if false["per_day"] is None:
        alarms = f"n/a over {days}: {false['why']}"
    return [
        (
            "infections found by the alarm",
            (
                f"{percent(time['share_detected'])} ({percent(time['share_low'])} to "
                f"{percent(time['share_high'])}) of {time['n_infected']}, median "
                f"{seconds(time['median_s'])}"
            ),
        ),
        ("false alarms", alarms),
    ]


def _limits(report: Report, numbers: Numbers) -> Items:
    untested = [
        f"{listed(profiles)} on {host}"
        for host, profiles in numbers.split["untested_profiles"].items()
    ]
    n_hosts = len(report["per_host"])
    return [
        ("not tested", "; ".join(untested) or "every test device ran every profile"),
        (
            "devices",
            (
                f"{counted(n_hosts, 'test device')}: the interval covers other episodes on "
                f"{'it' if n_hosts == 1 else 'them'}, not other devices"
            ),
        ),
        ("samples", "what the store holds; malware unlike it was not shown to the model"),
        ("seed", _seeds(report, numbers)),
    ]


def _seeds(report: Report, numbers: Numbers) -> str:
    rows = (row for row in numbers.board["rows"] if row["model"] == report["model"])
    seeds = next(rows)["seeds"]
    if seeds["n_seeds"] < 2:
        return "one training; another seed gives another score"
    return f"{seeds['n_seeds']} seeds: mean macro F1 {score(seeds['mean'])} ({between(seeds)})"
