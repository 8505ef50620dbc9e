"""Scores of all models of a split: ``python -m cis490_pipeline.dashboard.producers.metrics``."""

from pathlib import Path
from typing import Any

import click

from cis490_pipeline.dashboard.producers.options import (
    FOLDER,
    Places,
    artifacts_option,
    publish_options,
    publisher_of,
    run_alone,
    split_option,
    tensors_option,
    validation_option,
)
from cis490_pipeline.dashboard.producers.scores import MODELS, Failed, Scores
from cis490_pipeline.dashboard.producers.ticks import print_events, publish_on_ticks, tell
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.events.contract import (
    Confusion,
    Event,
    GroupMetric,
    ModelFailure,
    model_metric,
)
from cis490_pipeline.store.files import digest

_WHY = 400


@click.command()
@validation_option
@artifacts_option
@click.option("--summary", type=FOLDER, help="The split's features_window_v1.")
@tensors_option
@split_option
@click.option("--train-hosts", metavar="A,B", help="Refuse a split that trains on other hosts.")
@publish_options
def metrics(
    validation: Path | None,
    artifacts: Path | None,
    summary: Path | None,
    tensors: Path | None,
    recipe: str,
    train_hosts: str | None,
    publish_url: str | None,
    interval_s: float,
    dry_run: bool,
) -> int:
    """Publish each model's macro F1 with its interval, its confusion, and profile by host.

    Scores come from predictions.parquet, which is made where it is missing. A model that cannot be
    scored is published as failed, with the reason. Exit code 1 if there is one (published once).
    """
    places = Places.of(
        recipe, validation=validation, artifacts=artifacts, summary=summary, tensors=tensors
    )
    source = MetricEvents(Scores(places))
    if train_hosts is not None:
        hosts = tuple(name.strip() for name in train_hosts.split(",") if name.strip())
        source.scores.require_train_hosts(hosts)
    if dry_run:
        print_events(source.make())
    else:
        publish_on_ticks(source.make, publisher_of(publish_url), interval_s=interval_s)
    return 1 if source.failed else 0


class MetricEvents:
    """Gives the events of all models, and says on stderr which failed, when that changes.

    Attributes
    ----------
    failed : names of the models that failed when last asked, with the reason of each.
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        self.failed: dict[str, str] | None = None

    def make(self) -> list[Event]:
        """Give all events of a tick."""
        reports = self.scores.reports()
        failed = {name: r.why for name, r in reports.items() if isinstance(r, Failed)}
        if failed != self.failed:
            tell(f"{len(reports) - len(failed)} models scored, {len(failed)} failed")
            for name, why in failed.items():
                tell(f"failed: {name}: {why}")
        self.failed = failed
        variants = {model_name(a, v): str(v) for a, v in MODELS}
        events: list[Event] = []
        for name, report in reports.items():
            if isinstance(report, Failed):
                events.append(
                    ModelFailure(
                        model=name,
                        why=report.why[:_WHY],
                        split=self.scores.places.recipe,
                        variant=variants[name],
                        event_id=f"{self.scores.places.recipe}/{name}/{digest(report.why):.12}",
                    )
                )
            else:
                events += events_of(report)
        return events


def events_of(report: dict[str, Any]) -> list[Event]:
    """Return the events of one model's report: score, confusion, profile by host.

    Parameters
    ----------
    report : what ``evaluate`` returns.
    """
    model, split, variant = report["model"], report["split"], report["variant"]
    named = {"model": model, "split": split, "variant": variant}
    version = f"{split}/{model}/{digest(report):.12}"
    events: list[Event] = [
        GroupMetric(
            **named,
            profile=cell["profile"],
            host_id=cell["host_id"],
            macro_f1=cell["macro_f1"],
            why=cell["why"],
            n_episodes=cell["n_episodes"],
            n_windows=cell["n_windows"],
            event_id=f"{version}/{cell['profile']}/{cell['host_id']}",
        )
        for cell in report["profile_host"]
    ]
    confusion = report["confusion"]
    events.insert(
        0,
        Confusion(
            **named,
            labels=confusion["labels"],
            counts=confusion["counts"],
            event_id=f"{version}/confusion",
        ),
    )
    if report["macro_f1"] is None:
        why = "no macro F1 can be told of its test windows"
        return [ModelFailure(**named, why=why, event_id=version), *events]
    score = model_metric(
        report,
        split=split,
        variant=variant,
        untested_profiles=report["untested_profiles"],
        event_id=version,
    )
    return [score, *events]


if __name__ == "__main__":
    run_alone(metrics)
