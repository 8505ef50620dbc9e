"""``cis490 inspect`` and ``export``: one checkpoint folder."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.table import Table

from cis490_pipeline.cli.options import FILE, console, json_option, print_json

if TYPE_CHECKING:
    from cis490_pipeline.checkpoints.checkpoint import SavedEpoch

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--history", is_flag=True, help="Also print the training history by epoch.")
@json_option
def inspect(folder: Path, history: bool, as_json: bool) -> int:
    """Print the architecture, training data, settings and scores of the checkpoint in FOLDER."""
    from cis490_pipeline.checkpoints.describe import describe, epochs_of

    described = describe(folder)
    epochs = epochs_of(folder) if history else []
    if as_json:
        print_json({**described, "history": epochs} if history else described)
        return 0
    for name, value in described.items():
        click.echo(f"{name}: {value}")
    if history:
        console().print(_history_table(epochs))
    return 0


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--out", type=FILE, help="File to write; default: MODEL.onnx in the working folder.")
@json_option
def export(folder: Path, out: Path | None, as_json: bool) -> int:
    """Export the checkpoint in FOLDER as ONNX, unless its predictions differ from the model's."""
    from cis490_pipeline.experiment.tools.export import export_checkpoint

    done = export_checkpoint(folder, out)
    if as_json:
        print_json(done)
        return 0
    differences = done["differences"]
    click.echo(
        f"{done['path']}: {done['model']}, {done['bytes'] / 1e3:,.0f} kB, "
        f"windows ({', '.join(map(str, done['input']))}) -> probabilities (n, {done['output'][1]})"
    )
    click.echo(
        f"largest difference of a probability from the model: {max(differences.values()):.1e} "
        f"at batches of {', '.join(differences)}"
    )
    return 0


def _history_table(epochs: "list[SavedEpoch]") -> Table:
    table = Table(box=None, pad_edge=False)
    for name in epochs[0] if epochs else ():
        table.add_column(name.replace("_", " "), justify="right")
    for row in epochs:
        values = cast(dict[str, float | None], row).values()
        table.add_row(*("n/a" if v is None else f"{v:.4g}" for v in values))
    return table
