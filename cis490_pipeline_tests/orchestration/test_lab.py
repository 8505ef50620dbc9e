"""The lab profile: Dagster's history in PostgreSQL, several runs at once."""

import importlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef

from cis490_pipeline.domain import Recipe
from cis490_pipeline_tests.orchestration.making import (
    CORPUS,
    FEATURES,
    INDEX,
    PROJECT,
    SAMPLE,
    key_of,
)
from cis490_pipeline_tests.orchestration.postgres import postgres

LAB = PROJECT / "dagster.lab.yaml"
VARIABLES = [f"DAGSTER_PG_{name}" for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "DB")]


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(LAB, home / "dagster.yaml")
    return home


def test_dagster_accepts_the_profile_and_all_it_names_exists(home, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "5432")

    settings, _ = dagster_instance_config(str(home))
    ref = InstanceRef.from_dir(str(home))

    assert settings["storage"]["postgres"]["postgres_db"].keys() == {
        *("hostname", "port", "username", "password", "db_name", "scheme")
    }
    for part in (ref.storage_data, ref.local_artifact_storage_data, ref.compute_logs_data):
        assert hasattr(importlib.import_module(part.module_name), part.class_name)
    assert ref.storage_data.class_name == "DagsterPostgresStorage"


def test_the_lab_keeps_the_habits_of_one_machine():
    """All but the storage, and what more machines need."""
    lab, one = (
        yaml.safe_load((PROJECT / name).read_text())
        for name in ("dagster.lab.yaml", "dagster.yaml")
    )

    for part in ("compute_logs", "telemetry", "nux", "retention"):
        assert lab[part] == one[part]
    assert lab["concurrency"]["pools"] == one["concurrency"]["pools"]
    assert lab["run_monitoring"]["free_slots_after_run_end_seconds"] == 60


def dagster(*words, environment, folder):
    module = ("-m", "cis490_pipeline.orchestration.definitions")
    return subprocess.run(
        [sys.executable, "-m", "dagster", *words, *module],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_three_recipes_at_once_are_recorded_in_postgres(home, tmp_path, monkeypatch):
    recipes = [str(recipe) for recipe in Recipe]
    with postgres() as variables:
        variables |= {"DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT)}
        variables |= {"CIS490_STORE": str(SAMPLE), "CIS490_DATA": str(tmp_path / "made")}
        environment = os.environ | variables | {"CIS490_WORKERS": "1"}
        place = {"environment": environment, "folder": tmp_path}
        # By its own executor: a process for each step, all of them writing.
        corpus = dagster("job", "execute", "--job", "corpus", **place)
        assert corpus.returncode == 0, corpus.stderr[-3000:]

        def materialize(recipe):
            chosen = ("--select", f"{INDEX},{FEATURES}", "--partition", recipe)
            return dagster("asset", "materialize", *chosen, **place)

        with ThreadPoolExecutor(3) as pool:
            runs = list(pool.map(materialize, recipes))

        assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr[-3000:] for run in runs]
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            assert type(instance.event_log_storage).__module__.startswith("dagster_postgres")
            ended = instance.get_run_records()
            assert [record.dagster_run.status for record in ended] == [
                dg.DagsterRunStatus.SUCCESS
            ] * 4
            for name in CORPUS:
                assert instance.get_latest_materialization_event(key_of(name)) is not None
            for name in (INDEX, FEATURES):
                made = instance.get_materialized_partitions(key_of(name))
                assert made == set(recipes)
            numbers = {
                record.asset_materialization.partition: record.asset_materialization.metadata
                for record in instance.fetch_materializations(key_of(INDEX), limit=10).records
            }
            assert all("digest" in metadata for metadata in numbers.values())
    assert not list(home.rglob("*.db"))
