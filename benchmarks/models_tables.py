"""The benchmark's result as tables of text: printed for a person, written into the page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from benchmarks.model_peers import PEERS


@dataclass(frozen=True)
class TextTable:
    """One table."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def title_of(name: str) -> str:
    """Name of a contestant, as a reader knows it."""
    return PEERS[name].title if name in PEERS else name


def mean_and_interval(values: Iterable[float]) -> str:
    """Mean and 95 % t interval over seeds, within 0 to 1; of a single seed, that it is one."""
    found = list(values)
    if len(found) < 2:
        return f"{fmean(found):.3f} (one seed)"
    reach = stats.t.ppf(0.975, len(found) - 1) * stdev(found) / len(found) ** 0.5
    low, high = max(0.0, fmean(found) - reach), min(1.0, fmean(found) + reach)
    return f"{fmean(found):.3f} [{low:.3f}, {high:.3f}]"


def tables(result: Mapping[str, Any]) -> list[TextTable]:
    """Every section that was measured."""
    found = []
    if "public" in result:
        found.append(_public(result["public"]))
    if "simulated" in result:
        found.append(_standings("Simulated unseen hosts", result["simulated"]["standings"]))
        found.append(_pairs("Simulated unseen hosts, paired", result["simulated"]["pairs"]))
    if "seen" in result:
        found.append(_seen(result["seen"]))
    if "dropout" in result:
        found.append(_dropout(result["dropout"]))
    if "recorded" in result:
        found.append(_standings("Recorded corpus", result["recorded"]["standings"]))
        found.append(_pairs("Recorded corpus, paired", result["recorded"]["pairs"]))
    if "training_speed" in result:
        found += [_speed(result), _latency(result["latency"])]
    return found


def wanted(lines: Iterable[Mapping[str, Any]]) -> TextTable:
    """Lay out what was asked of the models, met or missed."""
    rows = tuple(
        (
            line["name"],
            f"{line['measured']:.3f} {line['unit']}".strip(),
            line["wanted"],
            "met" if line["met"] else "MISSED",
        )
        for line in lines
    )
    return TextTable("Wanted", ("what", "measured", "wanted", ""), rows)


def _public(rows: Iterable[Mapping[str, Any]]) -> TextTable:
    rows = list(rows)
    sets = list(dict.fromkeys(row["set"] for row in rows))
    by = {(row["model"], row["set"]): mean_and_interval(row["accuracies"]) for row in rows}
    names = dict.fromkeys(row["model"] for row in rows)
    body = tuple((title_of(name), *(by[name, one] for one in sets)) for name in names)
    return TextTable("Public sets, accuracy", ("", *sets), body)


def _standings(title: str, rows: Iterable[Mapping[str, Any]]) -> TextTable:
    rows = sorted(rows, key=lambda row: -row["macro_f1"])
    hosts = list(rows[0]["by_host"])
    has_interval = "ci_low" in rows[0]
    headings = (
        "",
        "macro F1",
        "by episode, 95 %" if has_interval else "SD over seeds",
        *(hosts if len(hosts) > 1 else ()),
        "on validation",
        "CPU s to train",
    )
    body = tuple(
        (
            title_of(row["name"]),
            f"{row['macro_f1']:.3f}",
            f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
            if has_interval
            else "one seed"
            if row["sd_over_seeds"] is None
            else f"{row['sd_over_seeds']:.3f}",
            *(f"{row['by_host'][host]:.3f}" for host in hosts if len(hosts) > 1),
            f"{row['val_macro_f1']:.3f}",
            f"{row['cpu_seconds']:.0f}",
        )
        for row in rows
    )
    return TextTable(title, headings, body)


def _pairs(title: str, rows: Iterable[Mapping[str, Any]]) -> TextTable:
    body = tuple(
        (
            row["model"],
            title_of(row["peer"]),
            f"{row['difference']:+.3f}",
            f"[{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]",
            f"{row['p_holm']:.4f}",
        )
        for row in rows
    )
    return TextTable(title, ("model", "peer", "model − peer", "95 %", "p (Holm)"), body)


def _seen(rows: Iterable[Mapping[str, Any]]) -> TextTable:
    body = tuple(
        (
            row["model"],
            *(f"{row[key]:.3f}" for key in ("unseen", "seen", "ratio", "seen_all_hosts")),
        )
        for row in rows
    )
    headings = ("", "host unseen", "host seen", "ratio", "all hosts seen")
    return TextTable("Unseen and seen hosts, macro F1", headings, body)


def _dropout(rows: Iterable[Mapping[str, Any]]) -> TextTable:
    keys = ("alive_without", "alive_with", "dead_without", "dead_with")
    body = tuple(
        (
            row["model"],
            row["variant"],
            row["source"],
            *(f"{row[key]:.3f}" for key in keys),
            "–" if row["recovered"] is None else f"{row['recovered']:.2f}",
            str(row["n_trainings"]),
        )
        for row in rows
    )
    headings = (
        "",
        "variant",
        "source",
        "all alive, without",
        "with",
        "source dead, without",
        "with",
        "recovered",
        "trainings",
    )
    return TextTable("Source dropout in training, macro F1", headings, body)


def _speed(result: Mapping[str, Any]) -> TextTable:
    body = tuple(
        (
            row["model"],
            f"{result['parameters'][row['model']]:,}",
            f"{row['ours_windows_per_s']:,}",
            f"{row['bare_windows_per_s']:,}",
            f"{row['share']:.2f}",
        )
        for row in result["training_speed"]
    )
    headings = ("", "weights", "windows/s", "bare loop", "share")
    return TextTable("Training on one thread", headings, body)


def _latency(rows: Iterable[Mapping[str, Any]]) -> TextTable:
    keys = ("p50_ms", "p95_ms", "p99_ms")
    body = tuple((row["model"], *(f"{row[key]:.3f}" for key in keys)) for row in rows)
    return TextTable("One window, ONNX Runtime, one thread, ms", ("", "p50", "p95", "p99"), body)
