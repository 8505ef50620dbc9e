"""Drawing a recipe's report from its JSON: the page, tables, model cards, and the schemas.

No prediction is read here, so that the page can be drawn again wherever the JSON lies.
"""

from collections.abc import Iterator
from pathlib import Path

from cis490_pipeline.checkpoints.describe import Description, describe
from cis490_pipeline.domain import Recipe
from cis490_pipeline.evaluation.schema.board import Leaderboard as Board
from cis490_pipeline.evaluation.schema.origin import MadeFrom
from cis490_pipeline.evaluation.schema.stored import read_form, read_report
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.reporting.html import render_report
from cis490_pipeline.reporting.latex import leaderboard_latex
from cis490_pipeline.reporting.page.cards import card_markdown, model_card
from cis490_pipeline.reporting.page.numbers import Numbers
from cis490_pipeline.reporting.publish_schema import schema_files
from cis490_pipeline.reporting.tables import csv_text, tables
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.storage.files import atomic_write

_TABLES, _CARDS, _SCHEMA = "tables", "cards", "schema"


class TimedDescription(Description):
    """A checkpoint's description with the wall time of its training."""

    seconds: float


def checkpoint_summary(stage: EvaluationReport) -> TimedDescription:
    """Describe a model's checkpoint, with the seconds its training took."""
    record = stage.checkpoint.record()
    assert record is not None, "a report without a checkpoint"
    return {**describe(stage.checkpoint.folder), "seconds": record.seconds}


def stored_numbers(paths: DataPaths, recipe: Recipe) -> Numbers:
    """Read a leaderboard, the reports of its rows, and what they were made from.

    Raises
    ------
    StoreError
        If a file is missing or is not JSON.
    EvaluationError
        If a file is not of its format.
    """
    board = read_form(paths.leaderboard(recipe), Board)
    reports = [read_report(paths.report_json(recipe, row["model"])) for row in board["rows"]]
    made_from = read_form(paths.made_from(recipe), MadeFrom)
    return Numbers.of(
        board,
        reports,
        split=made_from["split"],
        provenance=made_from["provenance"],
        checkpoints=made_from["checkpoints"],
    )


def draw_report(paths: DataPaths, recipe: Recipe) -> tuple[Path, ...]:
    """Draw everything that lies beside a recipe's JSON, and clear away what is drawn no more.

    Returns
    -------
    The files: ``report.html``, ``tables/*.csv`` and ``.tex``, ``cards/*.md``,
    ``schema/*.schema.json``.

    Raises
    ------
    StoreError, EvaluationError
        As ``stored_numbers``.
    """
    numbers = stored_numbers(paths, recipe)
    texts = dict(_parts(paths, recipe, numbers))
    texts[paths.report_html(recipe)] = render_report(
        numbers.board,
        numbers.reports,
        split=numbers.split,
        provenance=numbers.provenance,
        checkpoints=numbers.checkpoints,
    )
    for path, text in texts.items():
        _write(path, text.encode())
    for folder in (_TABLES, _CARDS, _SCHEMA):
        for path in paths.report_part(recipe, folder).iterdir():
            if path not in texts and path.is_file():
                path.unlink()
    return tuple(texts)


def _write(path: Path, content: bytes) -> None:
    atomic_write(path, lambda file: file.write(content))


def _parts(paths: DataPaths, recipe: Recipe, numbers: Numbers) -> Iterator[tuple[Path, str]]:
    for name, rows in tables(numbers).items():
        yield paths.report_part(recipe, f"{_TABLES}/{name}.csv"), csv_text(rows)
    yield paths.report_part(recipe, f"{_TABLES}/leaderboard.tex"), leaderboard_latex(numbers)
    for report in numbers.models:
        card = model_card(report, numbers)
        yield paths.report_part(recipe, f"{_CARDS}/{report['model']}.md"), card_markdown(card)
    for name, text in schema_files().items():
        yield paths.report_part(recipe, f"{_SCHEMA}/{name}"), text
