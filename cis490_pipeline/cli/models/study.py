"""``cis490 study``: generalization to profiles, hosts and times left out of training."""

from typing import Any

import click

from cis490_pipeline.cli.models.study_tables import print_study
from cis490_pipeline.cli.options import (
    common_options,
    model_options,
    opened_workspace,
    print_json,
    recipe_option,
)
from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.evaluation.schema.stored import read_form
from cis490_pipeline.evaluation.schema.study import Study as StudyFile
from cis490_pipeline.experiment.order import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.studies.study import Asked, Section, Study, default_models


@click.command()
@recipe_option
@model_options
@click.option(
    "--only",
    "sections",
    multiple=True,
    type=click.Choice([str(section) for section in Section]),
    help="Only this part; may be repeated.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Trainings of each model without each host, with seeds from --seed on.",
)
@common_options
def study(
    recipe: str,
    architectures: tuple[str, ...],
    variants: tuple[str, ...],
    sections: tuple[str, ...],
    seeds: int,
    as_json: bool,
    **flags: Any,
) -> int:
    """Train without some profiles, each host or later times and test on them; measure drift.

    Default model: the realistic one selected on validation if it trains in seconds, else gbt. Every
    training is kept, so a study that was stopped continues when run again. The next `cis490 report`
    includes the result.
    """
    with opened_workspace(flags) as workspace:
        index = ValidationIndex(workspace, Recipe(recipe))
        make_stages((*corpus_stages(workspace), index))
        views = [Variant(v) for v in dict.fromkeys(variants)] or [Variant.REALISTIC]
        models = (
            [(Architecture(a), view) for a in dict.fromkeys(architectures) for view in views]
            if architectures
            else default_models(workspace, Recipe(recipe), views)
        )
        wanted = tuple(Section(s) for s in dict.fromkeys(sections)) or tuple(Section)
        asked = Asked(models=tuple(models), sections=wanted, seeds=seeds)
        (outcome,) = make_stages((Study(workspace, Recipe(recipe), asked),))
    path = workspace.paths.study(recipe)
    result = read_form(path, StudyFile)
    if as_json:
        print_json(result)
        return 0
    print_study(result)
    tally = asked.tally
    done = f"{tally.trained} trained, {tally.kept} kept" if outcome.made else "up to date"
    click.echo(f"study: {path} ({done}, {outcome.record.seconds:.1f} s)")
    return 0
