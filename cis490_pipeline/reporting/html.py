"""HTML report: a single file that needs neither network nor script."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from cis490_pipeline.domain.split_summary import SplitSummary
from cis490_pipeline.evaluation.schema.origin import CheckpointSummary, Provenance
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.uncertainty.intervals import MIN_EPISODES_FOR_PERCENTILES
from cis490_pipeline.reporting.escaping import visible_text
from cis490_pipeline.reporting.page import cards, words
from cis490_pipeline.reporting.page.numbers import Board, Numbers
from cis490_pipeline.reporting.page.sections import (
    answer,
    breakdowns,
    certainty,
    detection,
    differences,
    origin,
    robustness,
    scores,
    shortcuts,
    studies,
)
from cis490_pipeline.storage.files import digest

_PACKAGE: Final = "cis490_pipeline.reporting.page"


def _methods(numbers: Numbers) -> dict[str, int | str]:
    return {"few_episodes": MIN_EPISODES_FOR_PERCENTILES, "chosen_on": numbers.chosen_on}


SECTIONS: Final[tuple[tuple[str, str, Callable[[Numbers], object]], ...]] = (
    ("answer", "The answer", answer.view),
    ("scores", "Leaderboard", scores.view),
    ("differences", "Which differences are real", differences.view),
    ("breakdowns", "Where it holds", breakdowns.view),
    ("detection", "Detection", detection.view),
    ("certainty", "How sure it may be", certainty.view),
    ("shortcuts", "Shortcuts", shortcuts.view),
    ("robustness", "Robustness", robustness.view),
    ("studies", "Studies", studies.view),
    ("origin", "Provenance", origin.view),
    ("cards", "Model cards", cards.view),
    ("methods", "Methods, and what is not shown", _methods),
)
"""Name of the template, heading, and the function that gives its numbers, in reading order."""


def _visible(value: Any) -> Any:
    """Write out invisible characters of text; markup has passed through here already."""
    return visible_text(value) if type(value) is str else value


_FILTERS: Final = {
    "score": words.score,
    "signed": words.signed,
    "p": words.p_value,
    "percent": words.percent,
    "seconds": words.seconds,
    "rate": words.rate,
    "device_time": words.device_time,
    "phase": words.phase_name,
    "level": words.level,
    "thousands": words.thousands,
    "between": words.between,
    "plain": words.plain_text,
}


def page_digest() -> str:
    """Digest of the page's code and templates: a change redraws it without recomputing numbers."""
    drawing = {path.name: path.read_text(encoding="utf-8") for path in _sources(files(_PACKAGE))}
    own = files("cis490_pipeline.reporting") / "html.py"
    return digest({**drawing, "html.py": own.read_text(encoding="utf-8")})


def _sources(folder: Traversable) -> Iterator[Traversable]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _sources(path)
        elif path.name.endswith((".py", ".html", ".css")):
            yield path


def render_report(
    leaderboard: Board,
    reports: Sequence[EvalReport],
    *,
    split: SplitSummary,
    provenance: Provenance,
    checkpoints: Mapping[str, CheckpointSummary] | None = None,
) -> str:
    """Draw a leaderboard and its reports.

    Parameters
    ----------
    reports : one for each row; models and probes in any order.
    provenance : what a reader needs to repeat it (commit, corpus digest, versions, …), shown as
        name and value.
    checkpoints : description of each model's checkpoint, with the ``seconds`` of its training; for
        the model cards. Models may be absent.

    Returns
    -------
    HTML with its styles and drawings inside, nothing fetched and nothing run. Every name from
    outside is escaped. Parts that older reports lack are marked as not measured.

    Raises
    ------
    EvaluationError
        If a row of the leaderboard has no report.
    """
    numbers = Numbers.of(
        leaderboard, reports, split=split, provenance=provenance, checkpoints=checkpoints
    )
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    style = files(_PACKAGE) / "templates" / "report.css"
    return environment.get_template("page.html").render(
        board=leaderboard,
        split=split,
        chosen=numbers.chosen,
        held_out=numbers.held_out,
        tested_on=numbers.tested_on,
        style=style.read_text(encoding="utf-8"),
        sections=[
            {"name": name, "title": title, "view": view(numbers)} for name, title, view in SECTIONS
        ],
    )
