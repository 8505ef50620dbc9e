import warnings
from datetime import UTC, datetime

import dagster as dg
import pytest

from cis490_pipeline.orchestration.assets.recording import recipes
from cis490_pipeline.orchestration.definitions import defs
from cis490_pipeline_tests.orchestration.making import (
    CORPUS,
    FEATURES,
    INDEX,
    TENSORS,
    key_of,
)

DATASETS = [INDEX, FEATURES, TENSORS]
EVERY_DATASET = {(name, recipe) for name in DATASETS for recipe in recipes.get_partition_keys()}


class Daemon:
    """Ticks of the automation daemon, with what was recorded between them."""

    def __init__(self, instance):
        self.instance, self.cursor = instance, None

    def record(self, name, version, partition=None):
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                key_of(name), partition=partition, tags={"dagster/data_version": version}
            )
        )

    def record_corpus(self, version):
        for name in CORPUS:
            self.record(name, version)

    def record_datasets(self, version):
        for name, recipe in sorted(EVERY_DATASET):
            self.record(name, version, recipe)

    def tick(self):
        with warnings.catch_warnings():
            # Dagster's own tester calls what Dagster names a beta.
            warnings.simplefilter("ignore", dg.BetaWarning)
            result = dg.evaluate_automation_conditions(defs, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        keys = defs.resolve_asset_graph().get_all_asset_keys()
        return {
            (key.to_user_string(), partition)
            for key in keys
            for partition in result.get_requested_partitions(key)
        }


@pytest.fixture
def daemon(instance):
    return Daemon(instance)


def test_nothing_is_requested_before_there_is_a_corpus(daemon):
    assert daemon.tick() == set()


def test_a_first_corpus_requests_every_dataset_and_no_model(daemon):
    daemon.tick()
    daemon.record_corpus("a")

    assert daemon.tick() == EVERY_DATASET
    assert daemon.tick() == set()


@pytest.fixture
def settled(daemon):
    daemon.record_corpus("a")
    daemon.tick()
    daemon.record_datasets("a")
    daemon.tick()
    return daemon


def test_a_night_with_nothing_new_requests_nothing(settled):
    settled.record_corpus("a")

    assert settled.tick() == set()
    assert settled.tick() == set()


def test_new_content_requests_every_dataset_once_and_no_model(settled):
    settled.record_corpus("b")

    assert settled.tick() == EVERY_DATASET
    settled.record_datasets("b")
    assert settled.tick() == set()


def test_new_datasets_request_no_model(settled):
    settled.record_datasets("made by hand")

    assert {name for name, _ in settled.tick()} <= {FEATURES, TENSORS}


def test_a_daemon_that_starts_on_a_finished_project_requests_nothing(daemon):
    daemon.record_corpus("a")
    daemon.record_datasets("a")

    assert daemon.tick() == set()
    assert daemon.tick() == set()


def test_what_runs_by_itself_is_the_datasets_and_the_drain():
    sensors = {sensor.name: sensor for sensor in defs.get_repository_def().sensor_defs}

    assert set(sensors) == {"dataset_automation", "unpublished_scores", "failed_runs"}
    assert all(s.default_status is dg.DefaultSensorStatus.RUNNING for s in sensors.values())


def test_the_weekly_retraining_asks_for_every_split_and_only_when_switched_on():
    repository = defs.get_repository_def()
    schedule = repository.get_schedule_def("weekly_retraining")
    sunday = datetime(2026, 11, 22, 4, tzinfo=UTC)

    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=sunday, repository_def=repository
        )
        requests = schedule.evaluate_tick(context).run_requests

    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert [request.partition_key for request in requests] == recipes.get_partition_keys()
    assert [request.run_key for request in requests] == [
        f"2026-11-22-{name}" for name in recipes.get_partition_keys()
    ]


def test_the_nightly_schedule_starts_the_corpus_job_and_only_when_switched_on():
    schedule = defs.get_repository_def().get_schedule_def("nightly")

    assert (schedule.name, schedule.job_name, schedule.cron_schedule) == (
        "nightly",
        "corpus",
        "0 3 * * *",
    )
