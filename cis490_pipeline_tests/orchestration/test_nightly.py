"""Nights on a store that grows: what is read, what changes, what is said."""

import json
import shutil

import dagster as dg
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.gc import collect_garbage
from cis490_pipeline.features.grids import build as grids_module
from cis490_pipeline.orchestration.assets.checks import checks, warning_checks
from cis490_pipeline.orchestration.assets.resources import workspace_resource
from cis490_pipeline.orchestration.definitions import corpus_assets, recipe_assets
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts import sweep as sweep_module
from cis490_pipeline_tests.experiment.runs import member, repack
from cis490_pipeline_tests.orchestration.making import (
    CORPUS,
    SAMPLE,
    failed_checks,
    key_of,
    materialized,
)

FIRST = "1700000000"
ROWS = [json.loads(line) for line in (SAMPLE / "index.jsonl").read_text().splitlines()]


class Lab:
    """A store, a data folder, and what the nightly run makes of them."""

    def __init__(self, folder, instance):
        self.store, self.instance = folder / "store", instance
        self.workspace = Workspace(Settings(store=self.store, data=folder / "data", workers=1))
        self.n = 0

    def ship(self, rows, content=None):
        for row in rows:
            name = f"episodes/{row['host_id']}/{row['episode_id']}.tar.zst"
            (self.store / name).parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                shutil.copy(SAMPLE / name, self.store / name)
            else:
                (self.store / name).write_bytes(content)
            with (self.store / "index.jsonl").open("a") as index:
                index.write(json.dumps(row) + "\n")

    def hide(self, files):
        for path in files:
            path.rename(path.with_suffix(".away"))

    def bring_back(self, files):
        for path in files:
            path.with_suffix(".away").rename(path)

    def night(self):
        # As each night is another process: what a store listed before is not remembered.
        workspace = Workspace(self.workspace.settings)
        return materialize(workspace, self.instance, CORPUS)

    def versions(self, run):
        return {name: e.tags["dagster/data_version"] for name, e in materialized(run).items()}

    def shards(self):
        folder = GridShards(self.workspace).folder
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.npy")}


def materialize(workspace, instance, names, recipe=None):
    keys = [key_of(name) for name in names]
    return dg.materialize(
        [*(recipe_assets if recipe else corpus_assets), *checks, *warning_checks],
        selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys),
        partition_key=recipe,
        instance=instance,
        resources={"workspace": dg.ResourceDefinition.hardcoded_resource(workspace)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


@pytest.fixture
def lab(tmp_path, instance, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", FIRST)
    return Lab(tmp_path, instance)


def another_day(monkeypatch, n=1):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(FIRST) + n * 86400))


def test_a_night_with_nothing_new_reads_no_archive_and_changes_nothing(lab, monkeypatch):
    lab.ship(ROWS[:8])
    first = lab.night()
    another_day(monkeypatch)
    monkeypatch.setattr(
        sweep_module, "validate_episode", lambda *_: pytest.fail("an archive was read")
    )

    second = lab.night()

    assert second.success
    assert lab.versions(second) == lab.versions(first)
    assert {event.metadata["made_because"].value for event in materialized(second).values()} == {
        "up to date: not made again"
    }
    swept = materialized(second)[CORPUS[0]].metadata
    assert (swept["archives_read"].value, swept["archives_unchanged"].value) == (0, 8)
    assert swept["seconds"].value == 0


def test_new_episodes_go_into_the_last_shard_and_no_other_file_is_touched(lab, monkeypatch):
    monkeypatch.setattr(grids_module, "SHARD_EPISODES", 16)
    lab.ship(ROWS[:24])
    lab.night()
    before = lab.shards()
    another_day(monkeypatch)
    lab.ship(ROWS[24:28])

    run = lab.night()

    after = lab.shards()
    assert len(before) == 2
    (new,) = after.keys() - before.keys()
    assert new.startswith("shard-00001-")
    # The grown shard's older file is whole until it is collected, for whoever reads it still.
    assert {name: at for name, at in after.items() if name != new} == before
    found = collect_garbage(lab.workspace, dry_run=True)
    # This process may still have it mapped.
    (old,) = {*found.spared, *(item.path for item in found.garbage)}
    assert old.split("/")[-1] in before
    assert materialized(run)[CORPUS[0]].metadata["archives_read"].value == 4
    assert materialized(run)[CORPUS[0]].metadata["archives_unchanged"].value == 24


def test_a_day_with_a_corrupt_upload_finishes_and_names_it(lab, monkeypatch):
    lab.ship(ROWS[:6])
    lab.night()
    another_day(monkeypatch)
    lab.ship(ROWS[6:7], content=b"no archive")
    lab.ship(ROWS[7:9])

    run = lab.night()

    assert run.success
    (said,) = failed_checks(run).items()
    assert said[0] == ("corpus/validation_sweep", "uploads_are_sound")
    assert said[1].startswith(f"cannot be used: {ROWS[6]['host_id']}/{ROWS[6]['episode_id']} (")
    (found,) = [e for e in run.get_asset_check_evaluations() if not e.passed]
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.metadata["of_these_unusable"].value == 1
    metadata = materialized(run)[CORPUS[0]].metadata
    assert metadata["episodes_rejected"].value == 1
    assert metadata["archives_read"].value == 3


def test_a_night_that_misses_too_many_episodes_fails_and_one_that_misses_few_warns(
    lab, monkeypatch
):
    lab.ship(ROWS[:24])
    first = lab.night()
    another_day(monkeypatch)
    files = sorted(lab.store.rglob("*.tar.zst"))
    lab.hide(files[:2])

    refused = lab.night()

    assert not refused.success
    (failure,) = [event.step_failure_data.error for event in refused.get_step_failure_events()]
    assert "2 of 24 episodes known are not there" in str(failure)
    lab.bring_back(files[1:2])
    one_away = lab.night()
    assert one_away.success
    assert lab.versions(one_away) == lab.versions(first)
    (said,) = failed_checks(one_away).items()
    assert said[0] == ("corpus/validation_sweep", "no_episode_vanished")
    assert f": {files[0].parent.name}/{files[0].name.split('.')[0]}; " in said[1]
    (found,) = [e for e in one_away.get_asset_check_evaluations() if not e.passed]
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert materialized(one_away)[CORPUS[0]].metadata["episodes_vanished"].value == 1
    lab.bring_back(files[:1])
    back = lab.night()
    assert lab.versions(back) == lab.versions(first)
    assert failed_checks(back) == {}
    assert materialized(back)[CORPUS[0]].metadata["archives_read"].value == 0


def test_workspace_of_a_run_accepts_a_loss_only_if_its_config_says_so():
    def accepts(config):
        context = dg.build_init_resource_context(config=config)
        return workspace_resource(context).accept_loss

    assert [accepts({}), accepts({"accept_loss": True})] == [False, True]


def with_a_backup(members):
    """Traffic that begins after the first 15 s: what the baseline holds is taken off."""
    name = member(members, "netflow.jsonl")
    rows = [json.loads(line) for line in members[name].splitlines()]
    for row in rows[150:]:
        row["pkts_out"] += 4_000
        row["bytes_out"] += 5_000_000
    members[name] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.long
def test_drift_is_told_of_a_shifted_host_and_not_of_the_same_episodes_unshifted(lab, monkeypatch):
    own = [row for row in ROWS if row["host_id"] == "elliott-thinkpad"]
    others = [row for row in ROWS if row["host_id"] != "elliott-thinkpad"]
    new = own[1::3]
    earlier = [*(row for row in own if row not in new), *others]
    lab.ship(sorted(earlier, key=lambda row: row["received_at_wall"]))

    (first,) = drift_checks(lab.night())

    assert first.passed
    assert first.metadata["new_episodes"].value == 0

    another_day(monkeypatch)
    lab.ship(new)
    (same,) = drift_checks(lab.night())

    assert same.passed, same.description
    assert same.metadata["new_episodes"].value >= 8
    assert same.metadata["hosts_compared"].value == 1

    another_day(monkeypatch, 2)
    for row in new:
        repack(LocalStore(lab.store), EpisodeRef(row["host_id"], row["episode_id"]), with_a_backup)
    run = lab.night()
    (found,) = drift_checks(run)

    assert not found.passed
    assert (found.severity, found.blocking) == (dg.AssetCheckSeverity.WARN, False)
    assert " new episodes of elliott-thinkpad against " in found.description
    assert "netflow." in found.description
    assert found.metadata["hosts_drifted"].value == 1
    assert found.metadata["largest_psi"].value > 0.25
    assert run.success


def drift_checks(run):
    return [
        evaluation
        for evaluation in run.get_asset_check_evaluations()
        if evaluation.check_name == "new_episodes_have_not_drifted"
    ]
