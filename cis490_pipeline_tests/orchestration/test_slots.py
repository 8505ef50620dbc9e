"""The run queue by the shipped settings: what Dagster starts, and in which order."""

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import ConcurrencyConfig
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)

from cis490_pipeline.orchestration import jobs, slots
from cis490_pipeline.orchestration.assets.models import leaderboard
from cis490_pipeline.orchestration.assets.recording import recipes
from cis490_pipeline.orchestration.definitions import defs
from cis490_pipeline.orchestration.publish.dashboard import unpublished_scores
from cis490_pipeline.orchestration.publish.drain import EVENTS
from cis490_pipeline.orchestration.runtime.webserver import Webserver
from cis490_pipeline_tests.events.endpoint import serving
from cis490_pipeline_tests.orchestration.making import PROJECT

SPLITS = recipes.get_partition_keys()
FILES = ("dagster.yaml", "dagster.lab.yaml", "deploy/helm-values.yaml")

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("cis490_pipeline"), "__repository__"), "job"
)


def concurrency_of(file):
    settings = yaml.safe_load((PROJECT / file).read_text())
    return settings.get("additionalInstanceConfig", settings)["concurrency"]


class Queue:
    """A run queue by the settings of one file; runs are recorded and never launched."""

    def __init__(self, instance, concurrency):
        self.instance = instance
        self.config = ConcurrencyConfig.from_concurrency_settings(
            concurrency, QueuedRunCoordinator().get_run_queue_config()
        )
        self.slots = concurrency["runs"]["max_concurrent_runs"]
        self.daemon = QueuedRunCoordinatorDaemon(interval_seconds=5)

    def add(self, tags, split=None):
        run = dg.DagsterRun(
            "job",
            tags={**tags, **({"dagster/partition": split} if split else {})},
            status=dg.DagsterRunStatus.QUEUED,
            remote_job_origin=ORIGIN,
        )
        return self.instance.add_run(run).run_id

    def start(self):
        """Start what the daemon would start now; returns the ids, in order."""
        chosen = self.daemon._get_runs_to_dequeue(self.instance, self.config, None)
        for run in chosen:
            self.instance.run_storage.handle_run_event(
                run.run_id,
                dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name="job"),
            )
        return [run.run_id for run in chosen]


@pytest.fixture(params=FILES)
def queue(request, instance):
    instance._run_coordinator = QueuedRunCoordinator()
    return Queue(instance, concurrency_of(request.param))


def test_of_three_weekly_recipes_one_runs_and_the_night_starts_at_once(queue):
    first, *_ = [queue.add(slots.TRAINING, split) for split in SPLITS]
    assert queue.start() == [first]

    night = queue.add(slots.CORPUS)

    assert queue.start() == [night]
    assert queue.start() == []


def test_runs_selected_by_hand_leave_the_corpus_a_slot_however_many_they_are(queue):
    for _ in range(2 * queue.slots):
        queue.add({}, "host")

    assert len(queue.start()) == queue.slots - 1
    night = queue.add(slots.CORPUS)
    assert queue.start() == [night]


def test_scores_are_published_while_every_slot_is_taken(queue, monkeypatch, tmp_path):
    for split in SPLITS:
        queue.add(slots.TRAINING, split)
    for _ in range(queue.slots):
        queue.add({}, "host")
    queue.add(slots.CORPUS)
    assert len(queue.start()) == queue.slots
    scores = [{"type": "model_metric", "model": "gbt_realistic", "accuracy": 0.5}]
    queue.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            leaderboard.key, partition="host", metadata={EVENTS: dg.MetadataValue.json(scores)}
        )
    )
    n_runs = queue.instance.get_runs_count()

    with serving() as dashboard:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CIS490_DASHBOARD_URL", dashboard.url)
        unpublished_scores(dg.build_sensor_context(instance=queue.instance))

    assert [event["accuracy"] for event in dashboard.events] == [0.5]
    assert queue.instance.get_runs_count() == n_runs


def test_the_corpus_comes_first_then_datasets_then_what_was_selected_then_training(queue):
    training = queue.add(slots.TRAINING, "host")
    by_hand = queue.add({}, "sample")
    datasets = queue.add(slots.DATASETS, "time")
    corpus = queue.add(slots.CORPUS)

    started = queue.start()

    order = [corpus, datasets, by_hand, training]
    assert started == order[: len(started)]
    assert len(started) >= 3


def test_datasets_are_cut_beside_a_training(queue):
    queue.add(slots.TRAINING, "host")
    queue.start()

    datasets = queue.add(slots.DATASETS, "host")

    assert queue.start() == [datasets]


@pytest.mark.parametrize("file", FILES)
def test_no_more_runs_train_than_the_pool_has_slots(file):
    concurrency = concurrency_of(file)
    (training,) = [
        limit
        for limit in concurrency["runs"]["tag_concurrency_limits"]
        if slots.TRAINING.get(limit["key"]) == limit.get("value", "")
    ]

    assert 1 <= training["limit"] <= concurrency["pools"]["default_limit"]


@pytest.mark.parametrize(
    ("job", "tags"), [(jobs.corpus, slots.CORPUS), (jobs.recipe, slots.TRAINING)]
)
def test_runs_of_a_job_have_its_tags(job, tags):
    assert tags.items() <= defs.resolve_job_def(job.name).run_tags.items()


def test_datasets_that_follow_by_themselves_have_their_priority():
    assert jobs.automation.run_tags == slots.DATASETS


def test_a_backfill_of_the_command_line_counts_as_training(monkeypatch):
    asked = []

    def ask(_, query, params):
        asked.append(params)
        return {"launchPartitionBackfill": {"__typename": "LaunchBackfillSuccess", "backfillId": 1}}

    monkeypatch.setattr(Webserver, "ask", ask)

    Webserver("http://127.0.0.1:3000").backfill({"model/leaderboard": ["host"]})

    tags = {tag["key"]: tag["value"] for tag in asked[0]["tags"]}
    assert slots.TRAINING.items() <= tags.items()
