"""What the README quotes of the documented run: the board, and how to read it."""

import io
from typing import Any

from rich.console import Console

from cis490_pipeline.cli.tables import MIN_WIDTH, print_leaderboard
from cis490_pipeline.domain import CHANNELS, Source
from cis490_pipeline.evaluation.leaderboard import modes_as_used
from docs.make_reference import from_sample
from docs.make_reference.markdown import bullet, code, prose
from docs.make_reference.results import (
    LEVEL,
    chosen,
    count,
    listed,
    p_value,
    processor,
    result,
    row,
    score,
    scored,
    signed,
)


def takes() -> str:
    """Say what the documented run took."""
    run = result("run")
    of, again = run["run"], "Run it again and it says that everything is up to date."
    if of["seconds"] is None:
        return again
    return prose(
        f"After installation, `make run` took {of['seconds']:.0f} seconds on "
        f"{count(run['machine']['cores'])} cores; its largest process held "
        f"{of['peak_memory_mb'] / 1000:.1f} GB. {again}"
    )


def board() -> str:
    """Print the committed board as ``cis490 run`` prints it, with its origin."""
    run = result("run")
    stream = io.StringIO()
    print_leaderboard(run["board"], Console(file=stream, width=MIN_WIDTH))
    lines = "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
    origin = prose(
        f"`{run['command']}` on {run['date']} at commit `{run['commit'][:12]}`, on "
        f"{processor(run['computed_on'])}, {count(run['settings']['threads'])} thread, Python "
        f"{run['versions']['python']}, torch {run['versions']['torch']} "
        "([the run as JSON](benchmarks/results/run.json)):"
    )
    return f"{origin}\n\n```text\n{lines}\n```"


def reading() -> str:
    """Say how to read the board, in the numbers of the board."""
    of = row(chosen())
    hosts = from_sample.machines().keys() - set(result("run")["settings"]["train_hosts"])
    deployable = sum(channel.deployable for channel in CHANNELS)
    traffic = sum(channel.source is Source.NETFLOW for channel in CHANNELS)
    texts = (
        (
            f"**Test** is {count(len(hosts))} machines that were not trained on. The headline is "
            f"the model chosen on validation ({code(of['model'])}), not the top of the list. "
            f"{_seeds(of)}"
        ),
        (
            f"**realistic** models see the {deployable} channels a deployed device has. **oracle** "
            f"models see all {len(CHANNELS)}, those of the lab's view from outside included. "
            f"{_oracle()} A third variant, **network**, sees the {traffic} channels of traffic "
            "alone; no run trains it unless it is asked for."
        ),
        (
            "**Probes** know one shortcut each "
            "([what each knows](docs/concepts/probes-and-robustness.md)). A model that does not "
            "clear them may have learnt the plot of the recordings and not the signs of "
            "infection. "
            f"{_cleared()}"
        ),
        (
            f"**val** is what models are chosen by ({score(of['val_macro_f1'])} for "
            f"{code(of['model'])}): {_selected_on()}."
        ),
        f"**calibrated by** compares {_calibrated()}",
    )
    return "\n".join(map(bullet, texts))


def _seeds(of: dict[str, Any]) -> str:
    recorded = result("models")["recorded"]
    scale = result("models")["scale"]["seeds"]
    (mean,) = [entry for entry in recorded["standings"] if entry["name"] == of["architecture"]]
    beyond = [pair["peer"] for pair in recorded["pairs"] if pair["p_holm"] <= LEVEL]
    peers = f"it differs from {listed(beyond)}" if beyond else "it differs from no peer"
    return (
        f"It is one training seed: over {count(scale)} seeds its mean is "
        f"{score(mean['macro_f1'])} (SD {score(mean['sd_over_seeds'])}), and {peers} by more than "
        "chance ([models, measured](docs/concepts/models-measured.md))."
    )


def _oracle() -> str:
    pairs = [
        pair
        for pair in result("run")["board"]["pairs"]
        if pair["family"] == "oracle against realistic"
    ]
    shown = [pair for pair in pairs if pair["p_holm"] is not None and pair["p_holm"] <= LEVEL]
    shown.sort(key=lambda pair: -pair["difference"])
    if not shown:
        return f"That it helps is shown for none of {count(len(pairs))} architectures."
    named = listed(
        f"{code(pair['a'].removesuffix('_oracle'))} ({signed(pair['difference'])}, "
        f"{p_value(pair['p_holm'])})"
        for pair in shown
    )
    rest = len(pairs) - len(shown)
    others = f"; for the other {count(rest)} nothing is shown" if rest else ""
    return f"Here a difference is shown for {named}{others}."


def _cleared() -> str:
    versus = result("run")["board"]["best_vs_probe"]
    controls = set(versus["controls"])
    shortcuts = [pair["b"] for pair in versus["comparisons"] if pair["b"] not in controls]
    missed = [name for name in shortcuts if name in versus["not_beaten"]]
    cleared = [name for name in shortcuts if name not in missed]
    parts = []
    if cleared:
        parts.append(f"clears {listed(map(code, cleared))}")
    if missed:
        parts.append(f"is not shown to clear {listed(map(code, missed))}")
    return f"Here the chosen model {', but '.join(parts)}."


def _selected_on() -> str:
    on = result("run")["board"]["selected_on"]
    if on == "same host":
        return "its episodes come from the training host, so that it says little of another"
    return f"its episodes are of {on}"


def _calibrated() -> str:
    """Give the modes of calibration, all treated as the one in use is."""
    used, *others = modes_as_used(result("run")["board"])
    named = [f"{code(used['mode'])}, in use, {scored(used['test'])}"]
    named += [
        f"{code(other['mode'])} " + ("n/a" if other["test"] is None else scored(other["test"]))
        for other in others
    ]
    return (
        "ways of calibration by trees of coarser steps, on the windows that all ways share: "
        f"{'; '.join(named)}. The way in use was chosen on validation and simulated hosts; nothing "
        "is chosen by these lines ([calibration](docs/concepts/calibration.md))."
    )
