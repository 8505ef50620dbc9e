import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.experiment.pipeline.corpus import GridShards, ValidationSweep
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts import validate
from cis490_pipeline.store.verdicts.sweep import comparable
from cis490_pipeline_tests.experiment.runs import (
    SAMPLE,
    SIX,
    copy_store,
    flip_a_byte,
    repack,
    with_labels_reordered,
    with_wrong_prev,
    without_done_marker,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A store of six recorded episodes, not yet validated."""
    copy_store(tmp_path / "store")
    return Workspace(Settings(store=tmp_path / "store", data=tmp_path / "data", workers=1))


@pytest.fixture
def swept(workspace: Workspace) -> Workspace:
    ValidationSweep(workspace).ensure()
    return workspace


@pytest.fixture
def gridded(swept: Workspace) -> Workspace:
    GridShards(swept).ensure()
    return swept


def verdicts(workspace: Workspace) -> dict[str, tuple[str, list[str]]]:
    frame = pl.read_parquet(workspace.paths.validation)
    return {
        episode: (status, codes)
        for episode, status, codes in frame.select("episode_id", "status", "reasons").iter_rows()
    }


def shard_of(workspace: Workspace) -> Path:
    return next(GridShards(workspace).folder.glob("shard-*.npy"))


def test_golden_file_is_what_a_fresh_sweep_says(finished: Workspace) -> None:
    golden = pl.read_parquet(SAMPLE.parent / "sample.validation.parquet")

    assert_frame_equal(comparable(pl.read_parquet(finished.paths.validation)), golden)


def test_four_faults_get_their_codes_and_the_others_stay_usable(workspace: Workspace) -> None:
    flip_a_byte(workspace.store.archive_path(SIX[0]))
    repack(workspace.store, SIX[1], with_labels_reordered)
    repack(workspace.store, SIX[2], without_done_marker)
    repack(workspace.store, SIX[3], with_wrong_prev)

    ValidationSweep(workspace).ensure()

    found = verdicts(workspace)
    assert [found[ref.episode_id] for ref in SIX] == [
        ("rejected", ["sha256_mismatch"]),
        ("rejected", ["labels_chain", "labels_not_monotonic"]),
        ("rejected", ["unfinished"]),
        ("rejected", ["labels_chain"]),
        ("accepted", []),
        ("accepted", []),
    ]


def test_second_sweep_makes_nothing(swept: Workspace) -> None:
    assert ValidationSweep(swept).ensure().why == "up to date"


def test_new_episode_is_the_only_one_read(swept: Workspace) -> None:
    copy_store(swept.store.root, [EpisodeRef("k-gamingcom", "01M8191SPTHCW4NYEGRZB4WFR1")])

    numbers = ValidationSweep(swept).ensure().record.numbers

    assert (numbers["archives_read"], numbers["archives_unchanged"]) == (1, 6)


def test_changed_archive_is_seen(swept: Workspace) -> None:
    flip_a_byte(swept.store.archive_path(SIX[0]))

    assert ValidationSweep(swept).ensure().why == "changed: listing"


def test_archive_that_changes_during_the_sweep_is_seen_the_next_time(
    workspace: Workspace,
) -> None:
    def change(what: str, done: int, total: int, detail: str = "") -> None:
        if what == "validate episodes" and done == total:
            flip_a_byte(workspace.store.archive_path(SIX[0]))

    ValidationSweep(replace(workspace, progress=change)).ensure()
    before = verdicts(workspace)[SIX[0].episode_id]
    ValidationSweep(workspace).ensure()

    assert (before, verdicts(workspace)[SIX[0].episode_id]) == (
        ("accepted", []),
        ("rejected", ["sha256_mismatch"]),
    )


def test_episode_that_could_not_be_checked_is_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_episode = validate.open_episode

    def fail_on_the_first(store: LocalStore, ref: EpisodeRef, row: object) -> object:
        if ref == SIX[0]:
            raise OSError("the disk went away")
        return open_episode(store, ref, row)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(validate, "open_episode", fail_on_the_first)
        ValidationSweep(workspace).ensure()
    before = verdicts(workspace)[SIX[0].episode_id]
    outcome = ValidationSweep(workspace).ensure()

    assert before == ("errored", [])
    assert outcome.why == "1 episodes could not be checked last time"
    assert outcome.record.numbers["archives_read"] == 1
    assert verdicts(workspace)[SIX[0].episode_id] == ("accepted", [])


def test_edited_verdict_is_not_believed(workspace: Workspace) -> None:
    flip_a_byte(workspace.store.archive_path(SIX[0]))
    ValidationSweep(workspace).ensure()
    frame = pl.read_parquet(workspace.paths.validation)
    write_parquet(
        workspace.paths.validation,
        frame.with_columns(status=pl.lit("accepted"), reasons=pl.lit([], dtype=pl.List(pl.String))),
    )

    ValidationSweep(workspace).ensure()

    assert verdicts(workspace)[SIX[0].episode_id] == ("rejected", ["sha256_mismatch"])


def test_half_a_file_of_verdicts_is_made_again(swept: Workspace) -> None:
    before = pl.read_parquet(swept.paths.validation)
    content = swept.paths.validation.read_bytes()
    swept.paths.validation.write_bytes(content[: len(content) // 2])

    ValidationSweep(swept).ensure()

    assert_frame_equal(
        comparable(pl.read_parquet(swept.paths.validation)),
        comparable(before),
    )


def test_verdicts_of_another_store_are_not_taken_over(swept: Workspace, tmp_path: Path) -> None:
    shutil.copytree(swept.store.root, tmp_path / "moved")
    moved = Workspace(replace(swept.settings, store=tmp_path / "moved"))

    assert ValidationSweep(moved).ensure().record.numbers["archives_read"] == 6


def test_missing_store_is_named(tmp_path: Path) -> None:
    workspace = Workspace(Settings(store=tmp_path / "none", data=tmp_path / "data"))

    with pytest.raises(StoreError, match="none: no such store; set CIS490_STORE"):
        ValidationSweep(workspace).ensure()


def test_same_episodes_give_the_same_digest_with_more_workers(
    swept: Workspace, tmp_path: Path
) -> None:
    two = Workspace(replace(swept.settings, data=tmp_path / "two", workers=2))
    record = ValidationSweep(swept).record()

    assert record is not None
    assert ValidationSweep(two).ensure().record.digest == record.digest


def test_second_gridding_makes_nothing(gridded: Workspace) -> None:
    assert GridShards(gridded).ensure().why == "up to date"


def test_usable_episodes_have_a_grid_each(gridded: Workspace) -> None:
    frame = GridStore(GridShards(gridded).folder).frame

    assert sorted(frame["episode_id"]) == sorted(ref.episode_id for ref in SIX)


def test_episode_that_could_not_be_gridded_is_tried_again(swept: Workspace) -> None:
    archive = swept.store.archive_path(SIX[0])
    away = archive.with_suffix(".away")
    archive.rename(away)
    failed = GridShards(swept).ensure().record.numbers["episodes_failed"]
    away.rename(archive)

    outcome = GridShards(swept).ensure()

    assert (failed, outcome.why) == (1, "1 episodes could not be gridded last time")
    assert outcome.record.numbers["episodes_failed"] == 0


def test_altered_shard_is_made_good_not_taken_over(gridded: Workspace) -> None:
    before = shard_of(gridded).read_bytes()
    flip_a_byte(shard_of(gridded))

    outcome = GridShards(gridded).ensure()

    assert outcome.why.startswith("missing or altered: ")
    assert shard_of(gridded).read_bytes() == before


def test_altered_index_of_grids_is_made_good(gridded: Workspace) -> None:
    index = GridShards(gridded).folder / "index.parquet"
    before = GridStore(index.parent).frame
    flip_a_byte(index)

    GridShards(gridded).ensure()

    assert_frame_equal(GridStore(index.parent).frame, before)
