"""Publish the scores of all models: ``python -m cis490_pipeline.dashboard.producers.metrics``."""

import logging

import click

from cis490_pipeline.dashboard.producers.options import (
    ProducerCommand,
    publish,
    publish_options,
    run_alone,
    split_options,
)
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.scores import MAX_WHY, Failed, Scores
from cis490_pipeline.domain.catalogue import MODELS, ON_REQUEST
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.events.contract import (
    Confusion,
    Event,
    GroupMetric,
    ModelFailure,
    model_metric,
)
from cis490_pipeline.events.identity import identified

logger = logging.getLogger(__name__)


@click.command(cls=ProducerCommand)
@split_options(must_exist=False)
@publish_options
def metrics(places: Places, publish_url: str | None, interval_s: float, dry_run: bool) -> int:
    """Publish macro F1 with intervals, confusion, and scores by profile and host.

    Scores come from predictions.parquet, which is made if missing. A model that cannot be
    scored is published as failed, with the reason. Exit code 1 if there is one (published once).
    """
    source = MetricEvents(Scores(places))
    publish(source.make, publish_url, interval_s=interval_s, dry_run=dry_run)
    return 1 if source.failed else 0


class MetricEvents:
    """Makes the events of all models, and reports on stderr which failed, when that changes.

    ``failed`` has the reasons by name of the models that failed in the last tick.
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        self.failed: dict[str, str] | None = None

    def make(self) -> list[Event]:
        """Make all events of a tick."""
        reports = self.scores.reports()
        failed = {name: r.why for name, r in reports.items() if isinstance(r, Failed)}
        if failed != self.failed:
            logger.info("%d models scored, %d failed", len(reports) - len(failed), len(failed))
            for name, why in failed.items():
                logger.warning("failed: %s: %s", name, why)
        self.failed = failed
        variants = {model_name(a, v): str(v) for a, v in (*MODELS, *ON_REQUEST)}
        events: list[Event] = []
        for name, report in reports.items():
            if isinstance(report, Failed):
                failure = ModelFailure(
                    model=name,
                    why=report.why[:MAX_WHY],
                    split=self.scores.places.recipe,
                    variant=variants[name],
                )
                events.append(
                    identified(
                        failure,
                        instance=self.scores.instance,
                        recipe=self.scores.places.recipe,
                        model=name,
                    )
                )
            else:
                events += events_of(report)
        return events


def events_of(report: EvalReport) -> list[Event]:
    """Build the events of one model's report: score, confusion, scores by profile and host."""
    model, split, variant = report["model"], report["split"], report["variant"]
    confusion = report["confusion"]
    details: list[Event] = [
        Confusion(
            model=model,
            split=split,
            variant=variant,
            labels=confusion["labels"],
            counts=confusion["counts"],
        ),
        *(
            GroupMetric(
                model=model,
                split=split,
                variant=variant,
                profile=cell["profile"],
                host_id=cell["host_id"],
                macro_f1=cell["macro_f1"],
                why=cell["why"],
                n_episodes=cell["n_episodes"],
                n_windows=cell["n_windows"],
            )
            for cell in report["profile_host"]
        ),
    ]
    if report["macro_f1"] is None:
        why = "macro F1 is undefined on its test windows"
        details.insert(0, ModelFailure(model=model, split=split, variant=variant, why=why))
    identity = {"instance": report["split_digest"], "recipe": split}
    events = [identified(event, **identity, model=model) for event in details]
    if report["macro_f1"] is None:
        return events
    score = model_metric(
        report,
        split=split,
        variant=variant,
        untested_profiles=report["untested_profiles"],
        split_digest=report["split_digest"],
    )
    return [score, *events]


if __name__ == "__main__":
    run_alone(metrics)
