"""``cis490 controls``: what of the recorder shows in what it recorded."""

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import click
from rich.table import Table
from rich.text import Text

from cis490_pipeline.cli.options import (
    common_options,
    console,
    opened_workspace,
    print_json,
    recipe_option,
)
from cis490_pipeline.cli.tables import number_text
from cis490_pipeline.config import FILE_NAME
from cis490_pipeline.domain import Recipe
from cis490_pipeline.evaluation.probes.control_steps import clearness
from cis490_pipeline.evaluation.schema.controls import (
    BlockPrediction,
    ControlsReport,
    ControlSteps,
    ModelControlScore,
    Quarantined,
)
from cis490_pipeline.experiment.tools.controls import controls_report

_Key = Literal["step", "usual", "size", "usual_size", "infected", "effect", "p_holm"]
_N_SHOWN: Final = 10
_SHOWN: Final[tuple[_Key, ...]] = get_args(_Key)


@click.command()
@click.option(
    "--hosts",
    metavar="A,B",
    help="Hosts to read; default: the train and val hosts of the settings where val hosts are "
    "named, else all.",
)
@recipe_option
@common_options
def controls(hosts: str | None, recipe: str, as_json: bool, **flags: Any) -> int:
    """Test on a recorded store's controls which channels show the recorder, not the malware.

    In a sham-armed control the recorder sends every request of an infected run, and the guest does
    nothing. Channels that step at those times and at no others are named, with the reason. And the
    block of the recording is predicted from clean windows: what drifted over the hours. Models of
    the recipe that have predictions are scored against the phases that would have been.
    """
    chosen = None if hosts is None else {name.strip() for name in hosts.split(",")}
    with opened_workspace(flags) as workspace:
        report = controls_report(workspace, chosen, Recipe(recipe))
    if as_json:
        print_json(report)
        return 0
    _print_report(report)
    return 0


def _print_report(report: ControlsReport) -> None:
    out = console(min_width=152)
    steps = report["steps"]
    by_host = ", ".join(f"{host} {n}" for host, n in steps["controls_by_host"].items())
    out.print(
        f"{steps['n_controls']} sham-armed controls among {report['n_episodes']} episodes of "
        f"{len(report['hosts'])} hosts ({by_host or 'none'}); {steps['n_steps']} shams, "
        f"{steps['n_left_out']} beside a look-alike left out",
        soft_wrap=True,
    )
    for name, why in report["unreadable"].items():
        out.print(f"left out: {name}: {why}", soft_wrap=True)
    if steps["why"]:
        out.print(f"nothing is quarantined; {steps['why']}", soft_wrap=True)
    for channel in steps["quarantined"]:
        out.print(f"quarantine {channel['channel']}: {channel['reason']}", soft_wrap=True)
    if steps["quarantined"]:
        out.print(_as_setting(steps["quarantined"]), soft_wrap=True)
    if not steps["quarantined"] and not steps["why"]:
        out.print(f"no channel steps at shams at the level {steps['level']:g}")
    if steps["n_steps"]:
        out.print(_table(steps))
    for block in report["blocks"]:
        out.print(_block_line(block), soft_wrap=True)
    for model in report["models"]:
        out.print(_model_line(model), soft_wrap=True)


def _as_setting(quarantined: Sequence[Quarantined]) -> Text:
    """Lines for ``cis490.toml``, as they are to be pasted."""
    lines = [f"to take them out of every model, in {FILE_NAME}:", "", "[quarantine]"]
    return Text("\n".join([*lines, *(channel["line"] for channel in quarantined), ""]))


def _model_line(model: ModelControlScore) -> str:
    if model["why"]:
        return f"{model['model']}: n/a, {model['why']}"
    around = model["around"][0]
    return (
        f"{model['model']}: macro F1 {number_text(model['macro_f1'])} against would-be phases, "
        f"chance {number_text(model['macro_f1_chance'])} (p {number_text(model['p_macro_f1'])}); "
        f"{number_text(model['false_share'])} of {model['n_windows']} windows of "
        f"{model['n_controls']} controls false, {number_text(around['before'])} before and "
        f"{number_text(around['after'])} after shams (p {number_text(model['p_around'])})"
    )


def _block_line(block: BlockPrediction) -> str:
    name, scores = f"block of the recording, {block['features']}", block["scores"]
    if scores is None or block["chance_balanced"] is None or block["host_balanced"] is None:
        return f"{name}: n/a, {block['why']}"
    return (
        f"{name}: balanced accuracy {number_text(scores['balanced_accuracy'])} "
        f"[{number_text(scores['balanced_low'])}, {number_text(scores['balanced_high'])}], chance "
        f"{number_text(block['chance_balanced'])}, the host alone "
        f"{number_text(block['host_balanced'])}; {block['n_windows']} clean windows of "
        f"{sum(block['episodes_by_block'].values())} episodes in "
        f"{len(block['episodes_by_block'])} blocks"
    )


def _table(steps: ControlSteps) -> Table:
    table = Table(title=f"clearest {_N_SHOWN} steps at shams of controls, and elsewhere in them")
    for name in ("channel", "would-be", "unit"):
        table.add_column(name, no_wrap=True)
    for name in ("step", "usual", "size", "usual", "infected", "effect", "p (Holm)", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(steps["rows"], key=clearness)[:_N_SHOWN]:
        table.add_row(
            row["channel"],
            row["transition"],
            row["unit"],
            *(
                _number(row[key])
                for key in _SHOWN
            ),
            f"{row['n_steps']} in {row['n_controls']}",
        )
    return table


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}"
