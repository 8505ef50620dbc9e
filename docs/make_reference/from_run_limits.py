"""What the documented run does not show, each with the number that says how far."""

from cis490_pipeline.evaluation.leaderboard import modes_as_used
from docs.make_reference import from_sample
from docs.make_reference.from_processors import score_changes
from docs.make_reference.markdown import bullet, code
from docs.make_reference.results import (
    chosen,
    count,
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

POSITION, GAUGES = "probe_position", "probe_drifting_gauges"


def not_shown() -> str:
    """Say what the numbers do not show, each with the number that shows how far."""
    parts = (
        _corpus(),
        _malware(),
        _shortcuts(),
        _weak_phases(),
        _seeds(),
        _false_alarms(),
        _clean_start(),
        _processors(),
        _never_run(),
    )
    return "\n".join(map(bullet, parts))


def _corpus() -> str:
    frame, _ = from_sample.swept()
    clean = frame["sample_name"].is_null().sum()
    low, high = frame["duration_s"].min(), frame["duration_s"].max()
    hours = (frame["t0_wall_ns"].max() - frame["t0_wall_ns"].min()) / 3.6e12
    return (
        f"**Not malware.** The sample corpus is {frame.height - clean} runs of harmless mimics and "
        f"{clean} clean runs on {count(len(from_sample.machines()))} emulated machine shapes, "
        f"{low:.0f} to {high:.0f} seconds each, recorded within {60 * hours:.0f} minutes. A score "
        "on it says little of a real device."
    )


def _malware() -> str:
    of, (frame, _) = result("run")["board"], from_sample.swept()
    samples = frame["sample_name"].drop_nulls().n_unique()
    return (
        "**New devices, not new malware.** On the host split, train and test share "
        f"{len(of['shared']['profiles'])} profiles and {len(of['shared']['samples'])} of "
        f"{samples} samples. The sample split holds out samples."
    )


def _shortcuts() -> str:
    versus = result("run")["board"]["best_vs_probe"]
    (pair,) = [pair for pair in versus["comparisons"] if pair["b"] == GAUGES]
    return (
        "**How much is a clock.** A forest that knows only the time since the start reaches "
        f"{score(row(POSITION)['macro_f1'])}, trees on the memory and load gauges, which drift "
        f"after a start, {score(row(GAUGES)['macro_f1'])}, the chosen model "
        f"{score(row(chosen())['macro_f1'])}: against these gauges {signed(pair['difference'])} "
        f"[{signed(pair['ci_low'])}, {signed(pair['ci_high'])}], {p_value(pair['p_holm'])}."
    )


def _weak_phases() -> str:
    of = report(chosen())
    weakest = min(of["per_class"], key=lambda phase: phase["f1"])
    labels = of["confusion"]["labels"]
    mistaken = sorted(
        (
            (n / sum(counts), true, other)
            for true, counts in zip(labels, of["confusion"]["counts"], strict=True)
            for other, n in zip(labels, counts, strict=True)
            if other != true and sum(counts)
        ),
        reverse=True,
    )
    named = [f"{percent(s)} of {code(t)} windows are called {code(o)}" for s, t, o in mistaken[:3]]
    return (
        f"**Weak phases.** {code(weakest['phase'])} is found worst (F1 {score(weakest['f1'])}, "
        f"recall {score(weakest['recall'])}); {named[0]}, {listed(named[1:])}."
    )


def _seeds() -> str:
    seeds = {len(entry["seeds"]["seeds"]) for entry in result("run")["board"]["rows"]}
    n = count(max(seeds))
    return (
        f"**{n.capitalize()} training seed{'s' if n != 'one' else ''}.** The intervals are for "
        "other runs on these devices. They do not cover another seed or another set of devices."
    )


def _false_alarms() -> str:
    found = report(chosen())["detection"]
    false, times = found["false_alarms"], found["time_to_detection"]
    minutes = 24 * 60 * false["device_days"]
    return (
        f"**How often an alarm is false.** {code(chosen())} finds {times['n_detected']} of "
        f"{times['n_infected']} infections, the median after {times['median_s']:.1f} s, with "
        f"{false['n']} false alarm{'' if false['n'] == 1 else 's'} in {minutes:.1f} minutes of "
        f"clean time: anything between {_per_day(false['low'])} and {_per_day(false['high'])} a "
        "day. Days of clean telemetry would be needed ([detection](docs/concepts/detection.md))."
    )


def _per_day(rate: float) -> str:
    return f"{rate:.2g}" if rate < 10 else f"{round(rate, -1 if rate < 1000 else -2):,.0f}"


def _clean_start() -> str:
    by_mode = {entry["mode"]: entry for entry in modes_as_used(result("run")["board"])}
    host = by_mode["host_baseline"]["test"]
    compared = "could not be scored" if host is None else f"reaches {scored(host)}"
    return (
        "**A clean start is needed.** Each device is calibrated by the first 15 seconds of the "
        "episode, which must be labelled clean. An episode without them is excluded and "
        "counted. One that looks infected nonetheless is flagged; "
        "[calibration](docs/concepts/calibration.md) says how often. Calibration by a record of "
        f"the host, which needs no clean start, is compared with one architecture alone, where "
        f"it {compared}."
    )


def _processors() -> str:
    least, most = score_changes()
    return (
        "**Another processor.** A network trained where the libraries choose other code gets other "
        f"weights and another score: with instructions taken away, macro F1 moved by "
        f"{signed(least)} to {signed(most)} "
        "([the same numbers again](docs/concepts/same-numbers.md))."
    )


def _never_run() -> str:
    lines = {line["name"]: line for line in result("live")["lines"]}
    share = lines["share of one core, %"]["measured"]
    return (
        "**Not run where it is meant to run.** `cis490 live` was measured on replayed rows on a "
        f"server's processor ({share:.1f} % of a core for all models), not on a device; the "
        "files for Kubernetes are held against the code by tests and were not applied to a "
        "cluster."
    )
