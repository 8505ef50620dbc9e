"""Which losses a sweep refuses, and what stays of the episodes it misses."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts import sweep as sweep_module
from cis490_pipeline.store.verdicts import validate
from cis490_pipeline.store.verdicts.sweep import SweepResult, sweep, sweep_digest
from cis490_pipeline.store.verdicts.vanished import vanished_rows
from cis490_pipeline_tests.store.episodes import MadeEpisode, make_meta, write_index

REFS = [EpisodeRef("garage-pi", f"01M818T3B21K3XM3WCNJE8F1{n:02d}") for n in range(40)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalStore, pl.DataFrame]:
    """Forty episodes and their verdicts."""
    root = tmp_path_factory.mktemp("store")
    write_index(root, [MadeEpisode(ref, meta=make_meta(ref)).write(root) for ref in REFS])
    return LocalStore(root), sweep(LocalStore(root), None, SerialCompute()).frame


@pytest.fixture
def store(written: tuple[LocalStore, pl.DataFrame], tmp_path: Path) -> LocalStore:
    """A copy; its files have the same times, and its name is another."""
    shutil.copytree(written[0].root, tmp_path / "store")
    return LocalStore(tmp_path / "store")


@pytest.fixture
def before(written: tuple[LocalStore, pl.DataFrame]) -> pl.DataFrame:
    return written[1]


def lose(store: LocalStore, n: int) -> None:
    for ref in REFS[:n]:
        store.archive_path(ref).unlink()


def again(store: LocalStore, earlier: pl.DataFrame, **chosen: bool) -> SweepResult:
    return sweep(store, earlier, SerialCompute(), checked_at="2026-12-02T03:00:00Z", **chosen)


def test_a_twentieth_may_vanish_and_no_more(store: LocalStore, before: pl.DataFrame) -> None:
    lose(store, 2)
    assert again(store, before).n_vanished == 2

    store.archive_path(REFS[2]).unlink()
    with pytest.raises(StoreError, match=re.escape("3 of 40 episodes known are not there")):
        again(store, before)


def test_refusal_names_the_episodes_and_what_to_do(store: LocalStore, before: pl.DataFrame) -> None:
    lose(store, 3)

    with pytest.raises(StoreError) as refused:
        again(store, before)

    assert str(refused.value) == (
        f"{store.name}: 3 of 40 episodes known are not there, first {REFS[0]}, {REFS[1]}, "
        f"{REFS[2]}: 0 without their row in index.jsonl, 3 without a file; at most 5% may vanish "
        "between two sweeps; the earlier verdicts stay. Mount the store or restore its index and "
        "sweep again; if they are gone for good: cis490 validate --accept-loss (in Dagster: "
        "accept_loss of resource workspace)"
    )


def test_verdict_of_a_vanished_episode_stays_as_it_was(
    store: LocalStore, before: pl.DataFrame
) -> None:
    lose(store, 2)

    after = again(store, before)

    assert (after.n_read, after.n_reused) == (0, 38)
    assert sweep_digest(after.frame) == sweep_digest(before)
    assert_frame_equal(after.frame.drop("vanished_at"), before.drop("vanished_at"))
    assert vanished_rows(after.frame).select("host_id", "episode_id", "vanished_at").rows() == [
        (ref.host_id, ref.episode_id, "2026-12-02T03:00:00Z") for ref in REFS[:2]
    ]


def test_those_missed_before_do_not_count_again_and_keep_their_time(
    store: LocalStore, before: pl.DataFrame
) -> None:
    lose(store, 2)
    first = again(store, before).frame.with_columns(
        vanished_at=pl.col("vanished_at").str.replace("12-02", "12-01")
    )
    store.archive_path(REFS[2]).unlink()

    after = again(store, first)

    assert vanished_rows(after.frame)["vanished_at"].to_list() == [
        *["2026-12-01T03:00:00Z"] * 2,
        "2026-12-02T03:00:00Z",
    ]


def test_nothing_is_read_of_episodes_that_come_back(
    store: LocalStore, before: pl.DataFrame, written: tuple[LocalStore, pl.DataFrame]
) -> None:
    lose(store, 2)
    away = again(store, before).frame
    for ref in REFS[:2]:
        shutil.copy2(written[0].archive_path(ref), store.archive_path(ref))

    back = again(store, away)

    assert (back.n_read, back.n_reused, back.n_vanished) == (0, 40, 0)
    assert_frame_equal(back.frame, before)


def test_store_without_its_index_is_refused_and_judges_nothing(
    store: LocalStore, before: pl.DataFrame
) -> None:
    store.index_path.unlink()

    with pytest.raises(StoreError, match=r"40 without their row in index\.jsonl, 0 without a file"):
        again(store, before)
    accepted = again(store, before, accept_loss=True)

    # Not rejected as not_indexed: their rows are missing, not their content wrong.
    assert (accepted.n_read, accepted.n_vanished) == (0, 40)
    assert sweep_digest(accepted.frame) == sweep_digest(before)


def test_lost_index_of_few_episodes_among_unindexed_ones_is_refused(
    store: LocalStore, before: pl.DataFrame
) -> None:
    write_index(store.root, [store.read_index().rows[REFS[0]]])
    one_indexed = again(store, before.clear()).frame
    store.index_path.unlink()

    with pytest.raises(StoreError, match=f"1 of 40 .* first {REFS[0]}: 1 without their row"):
        again(store, one_indexed)


def test_other_store_must_have_the_episodes_too(store: LocalStore, before: pl.DataFrame) -> None:
    lose(store, 3)

    with pytest.raises(StoreError, match=r"known from /srv/a are not .* of its own \(--data\)"):
        sweep(store, before, SerialCompute(), verdicts_of="/srv/a")
    other = sweep(store, before, SerialCompute(), verdicts_of="/srv/a", accept_loss=True)

    assert (other.n_reused, other.n_vanished) == (0, 0)


def test_archive_that_never_arrived_is_not_lost(store: LocalStore, before: pl.DataFrame) -> None:
    lose(store, 20)
    never = again(store, before.clear()).frame
    rows = store.read_index().rows
    write_index(store.root, [rows[ref] for ref in REFS[20:]])

    assert again(store, never).n_vanished == 0


def test_disk_that_fails_takes_no_verdicts_with_it(
    store: LocalStore, before: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr(sweep_module, "RULES_VERSION", "other")
    monkeypatch.setattr(validate, "open_episode", fail)

    with pytest.raises(StoreError, match=r"40 of 40 episodes known cannot be read .*Input/output"):
        again(store, before)
    assert again(store, before, accept_loss=True).frame["status"].unique().to_list() == ["errored"]


def test_episodes_that_may_not_be_listed_are_not_there(
    store: LocalStore, before: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = LocalStore.stamps
    monkeypatch.setattr(
        LocalStore,
        "stamps",
        lambda self, ref: [["PermissionError"]] if ref == REFS[0] else stamps(self, ref),
    )

    assert vanished_rows(again(store, before).frame)["episode_id"].to_list() == [REFS[0].episode_id]


def test_verdicts_from_before_the_column_have_none_vanished(before: pl.DataFrame) -> None:
    assert vanished_rows(before.drop("vanished_at")).is_empty()
