"""What the concepts' pages quote of the documented run: alarms, probes, faults, studies."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cis490_pipeline.domain import Variant
from docs.make_reference.markdown import bullet, code, prose, table
from docs.make_reference.results import (
    change,
    chosen,
    count,
    interval,
    listed,
    p_value,
    percent,
    report,
    result,
    row,
    score,
    scored,
    signed,
)

POSITION, GAUGES, THRESHOLD = "probe_position", "probe_drifting_gauges", "probe_threshold"
ALARMS = ("gbt_realistic", "gru_realistic", POSITION)


def alarms() -> str:
    """Give what alarms found on the test side, in a table with its origin."""
    board, false = result("run")["board"], report(chosen())["detection"]["false_alarms"]
    rows = [(code(model), *_alarm(report(model)["detection"])) for model in ALARMS]
    rows.append(("the filter alone, stated prior", *_alarm_alone()))
    counts = board["counts"]
    head = (
        "",
        f"found of {report(chosen())['detection']['time_to_detection']['n_infected']}",
        "95 %",
        "median, s",
        "false alarms",
        "clean runs with an alarm",
    )
    text = prose(
        f"Recorded corpus, {board['split']} split, {counts['test']} test episodes of devices that "
        f"were not trained on, one seed; thresholds from {count(counts['val'])} validation "
        f"episodes ({board['selected_on']}). The clean time of the test side is "
        f"{_minutes(false):.1f} minutes."
    )
    return f"{text}\n\n{table(head, rows)}"


def _minutes(false: Mapping[str, Any]) -> float:
    return float(false["device_days"]) * 24 * 60


def _alarm(detection: Mapping[str, Any]) -> tuple[object, ...]:
    found, clean = detection["time_to_detection"], detection["episodes"]["clean"]
    return (
        *_found(found),
        detection["false_alarms"]["n"],
        f"{clean['alarmed']} of {clean['n']}",
    )


def _alarm_alone() -> tuple[object, ...]:
    alone = report(chosen())["detection"]["constant_emissions"]
    return (*_found(alone["time_to_detection"]), alone["false_alarms"]["n"], "–")


def _found(times: Mapping[str, Any]) -> tuple[str, str, str]:
    already = times["n_already_alarming"]
    n = f"{times['n_detected']}" + (f", {already} already alarming" if already else "")
    median = "n/a"
    if times["median_s"] is not None:
        median = (
            f"{times['median_s']:.1f} [{_s(times['median_low_s'])}, {_s(times['median_high_s'])}]"
        )
    return n, f"{times['share_low']:.2f} to {times['share_high']:.2f}", median


def _s(seconds: float | None) -> str:
    return "n/a" if seconds is None else f"{seconds:.1f}"


def alarm_limits() -> str:
    """Say what the clean time of the test side allows to be stated."""
    detection = report(chosen())["detection"]
    false, believed = detection["false_alarms"], detection["ppv"][0]
    rate = f"{_rate(false['low'])} to {_rate(false['high'])} a day"
    texts = (
        (
            f"**A rate of false alarms.** {false['n']} in {_minutes(false):.1f} minutes allows "
            f"{rate}. Days of clean telemetry of ordinary use would be needed, and there are none."
        ),
        (
            f"**That an alarm could be believed.** At {believed['prior']:g} infections a "
            f"{believed['per']} the predictive value lies between {believed['low']:.1g} and "
            f"{believed['high']:.2g}: the interval is that of the false alarms."
        ),
    )
    return "\n".join(map(bullet, texts))


def _rate(rate: float) -> str:
    return f"{rate:.2g}" if rate < 10 else f"{round(rate, -1 if rate < 10_000 else -2):,.0f}"


def probes() -> str:
    """Give what each probe reached, and what the chosen model does against them."""
    board, model = result("run")["board"], row(chosen())
    versus = board["best_vs_probe"]
    details = {entry["model"]: entry["detail"] for entry in board["probes"]["rows"]}
    controls = set(versus["controls"])
    rows = []
    for of in (of for of in board["rows"] if of["kind"] == "probe"):
        name = code(of["model"])
        if of["model"] in controls:
            name += " (control)"
        if of["model"] == THRESHOLD:
            on = ":".join(details[THRESHOLD].split(":")[:2])
            name += f" (on {code(on)})"
        rows.append((name, scored(of), score(of["val_macro_f1"])))
    origin = prose(
        f"{board['split'].capitalize()} split, seed {model['seed']}, {model['n_episodes']} "
        f"episodes and {model['n_windows']} windows of hosts that were not trained on."
    )
    return "\n\n".join((origin, table(("probe", "macro F1, test", "validation"), rows), _against()))


def _against() -> str:
    versus = result("run")["board"]["best_vs_probe"]
    best = versus["best_probe"]
    verb = "beats" if versus["beats"] else "does not beat"
    pairs = {pair["b"]: pair for pair in versus["comparisons"]}
    missed = versus["not_beaten"]
    rest = [b for b in pairs if b not in missed and b != best and b not in versus["controls"]]
    others = listed(f"{code(b)} ({signed(pairs[b]['difference'])})" for b in rest)
    return prose(
        f"The chosen model, {code(chosen())} with {scored(row(chosen()))}, **{verb} the best "
        f"probe**: against {code(best)} the difference is {change(versus)}, "
        f"{p_value(versus['p_holm'])} after Holm. "
        + (f"Of the other shortcuts it beats {others}. " if rest else "")
        + "Which of what the gauges tell is uptime and which is the malware's own memory, no probe "
        "can say."
    )


def identity() -> str:
    """Say how well the host is recognized in a clean window."""
    found = result("run")["board"]["host_identity"]
    named = listed(
        f"{entry['accuracy']:.2f} "
        f"[{entry['accuracy_low']:.2f}, {entry['accuracy_high']:.2f}] {entry['features']}"
        for entry in found["rows"]
    )
    return prose(
        f"The host is recognized in a clean window with an accuracy of {named} "
        f"({found['n_windows']} windows, {found['n_episodes']} episodes, "
        f"{count(found['n_hosts'])} hosts; the largest "
        f"has {percent(found['largest_host']['share'])} of the windows)."
    )


def faults() -> str:
    """Give what recording faults cost the two models chosen on validation, and the range of all."""
    board = result("run")["board"]
    found = board["robustness"]
    models = [name for v in Variant if (name := board["selected"].get(v)) is not None]
    by_name = {(entry["model"], entry["scenario"]): entry for entry in found["rows"]}
    rows = [
        (code(scenario["name"]), *(change(by_name[model, scenario["name"]]) for model in models))
        for scenario in found["scenarios"]
    ]
    head = ("scenario", *(f"{code(model)}, change of macro F1" for model in models))
    return f"{table(head, rows)}\n\n{_range_of_faults(found['rows'])}"


def _range_of_faults(rows: list[Any]) -> str:
    by_scenario: dict[str, list[float]] = {}
    for entry in rows:
        if entry["difference"] is not None:
            by_scenario.setdefault(entry["scenario"], []).append(entry["difference"])
    worst = sorted(by_scenario, key=lambda name: min(by_scenario[name]))
    named = listed(
        f"{code(name)} ({signed(min(by_scenario[name]))} to {signed(max(by_scenario[name]))})"
        for name in worst[:2]
    )
    rest = min(min(by_scenario[name]) for name in worst[2:])
    return prose(
        f"Over all models {named} cost most; of the other scenarios none costs any model more than "
        f"{score(-rest)}."
    )


def study() -> str:
    """Say what the study says of the recorded corpus."""
    study = result("run")["study"]
    ((name, found),) = study["models"].items()
    return "\n\n".join(
        prose(text)
        for text in (
            f"{code(name)}, {result('run')['board']['split']} split, one seed. {_profiles(found)}",
            _hosts_and_time(found),
            _drift(study["drift"]),
        )
    )


def _profiles(found: Mapping[str, Any]) -> str:
    rows = [entry for entry in found["profiles"]["rows"] if entry["scope"] == "test side"]
    alarms = [entry["alarm"] for entry in rows]
    total = sum(alarm["n_episodes"] for alarm in alarms)
    any_, new = (sum(alarm[key]["n"] for alarm in alarms) for key in ("any", "new"))
    trained = sum(entry["alarm"]["new"]["n"] for entry in found["profiles"]["reference"])
    quiet = [entry["quiet"]["share_of_windows"] for entry in rows]
    energy = {entry["profile"]: entry["auroc"]["energy"] for entry in rows}
    doubted = [
        p for p, area in energy.items() if area["ci_low"] is not None and area["ci_low"] > 0.5
    ]
    named = (
        listed(
            f"{code(p)} ({energy[p]['auroc']:.2f} "
            f"[{energy[p]['ci_low']:.2f}, {energy[p]['ci_high']:.2f}])"
            for p in doubted
        )
        if doubted
        else "none"
    )
    return (
        f"The alarm stands in {any_} of {total} infected test episodes of profiles left out. It "
        f"was raised by the infection in {new}, and in {trained} where the profile was trained on; "
        f"it stands in {percent(min(quiet))} to {percent(max(quiet))} of the test side's clean and "
        f"armed windows. Of the {len(energy)} profiles the model's doubt (energy) separates "
        f"{named} from what it knows."
    )


def _hosts_and_time(found: Mapping[str, Any]) -> str:
    scores: dict[bool, list[float]] = {True: [], False: []}
    for cell in found["hosts"]["cells"]:
        if cell["macro_f1"] is not None:
            scores[cell["diagonal"]].append(cell["macro_f1"])
    on, off = (f"{min(of):.2f} to {max(of):.2f}" for of in (scores[True], scores[False]))
    return (
        f"From host to host macro F1 is {on} on the diagonal and {off} off it. The area under time "
        f"is {score(found['time']['aut'])} {interval(found['time'])}, over "
        f"{_span_minutes(found['time']['slots']):.0f} minutes: this corpus cannot say how models "
        "age."
    )


def _span_minutes(slots: list[Any]) -> float:
    first, last = (datetime.fromisoformat(slots[i][key]) for i, key in ((0, "from"), (-1, "to")))
    return (last - first).total_seconds() / 60


def _drift(drift: Mapping[str, Any]) -> str:
    (whole,) = [
        entry
        for entry in drift["summary"]
        if (entry["group"], entry["view"]) == ("test side", "relative")
    ]
    return (
        f"{whole['n_flagged_beyond_chance']} of {whole['n_channels']} channels have drifted from "
        "the training host beyond chance."
    )


def untested() -> str:
    """Give the profiles that test hosts never ran."""
    cells = sorted(result("run")["board"]["untested_profiles"].items())
    return table(("host", "untested"), [(host, ", ".join(names)) for host, names in cells])


def shared() -> str:
    """Say what train and test share on the recorded corpus."""
    of = result("run")["board"]["shared"]
    parts = [
        f"{count(len(names))} {kind if len(names) != 1 else kind.rstrip('s')}"
        for kind, names in of.items()
    ]
    return prose(f"On the host split of the sample corpus they share {listed(parts)}.")
