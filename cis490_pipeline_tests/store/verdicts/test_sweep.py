import dataclasses
import os
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cis490_pipeline.compute import ProcessCompute, SerialCompute
from cis490_pipeline.domain import EpisodeRef, Source
from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.parquet import write_parquet
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts import sweep as sweep_module
from cis490_pipeline.store.verdicts.eligibility import scorable_expr, usable_expr
from cis490_pipeline.store.verdicts.sweep import SweepResult, sweep, sweep_digest, verdict_counts
from cis490_pipeline.store.verdicts.vanished import without_vanished
from cis490_pipeline_tests.store.episodes import (
    OTHER_REF,
    REF,
    MadeEpisode,
    make_meta,
    make_rows,
    write_index,
)

SAMPLE = Path(__file__).parents[3] / "data" / "sample"


@pytest.fixture(scope="module")
def recorded() -> SweepResult:
    return sweep(LocalStore(SAMPLE), None, SerialCompute())


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Two episodes with the same telemetry; the one of the larger id came first."""
    later = MadeEpisode().write(tmp_path)
    earlier = MadeEpisode(OTHER_REF, meta=make_meta(OTHER_REF)).write(tmp_path)
    earlier = dataclasses.replace(earlier, received_at_wall="2026-11-21T10:00:00Z")
    write_index(tmp_path, [later, earlier])
    return LocalStore(tmp_path)


def reasons(result: SweepResult) -> dict[str, list[str]]:
    return dict(result.frame.select("episode_id", "reasons").iter_rows())


def test_recorded_corpus_has_the_verdicts_that_are_true_of_it(recorded: SweepResult) -> None:
    found = recorded.frame.filter(pl.col("status") != "accepted")

    assert verdict_counts(recorded.frame) == {
        "counts": {"accepted": 62, "degraded": 2, "rejected": 2, "errored": 0},
        "reasons": {
            "label_failed": 1,
            "label_unjustified": 1,
            "missing_member": 1,
            "source_short": 1,
            "unfinished": 1,
        },
        "n_episodes": 66,
        "unknown_fields": [],
    }
    assert {
        (host, episode): (status, codes)
        for host, episode, status, codes in found.select(
            "host_id", "episode_id", "status", "reasons"
        ).iter_rows()
    } == {
        ("elliott-thinkpad", "01M819XFB9FGEK1F80RPN4B4AM"): (
            "rejected",
            ["missing_member", "unfinished"],
        ),
        ("lab-nuc", "01M819VPN8Y0F8YKF0RHD4310Y"): ("rejected", ["label_failed"]),
        ("elliott-thinkpad", "01M8191HDYZ10ET1VZ9NJ1HDR1"): ("degraded", ["source_short"]),
        ("garage-pi", "01M81B07537W74BWGH2DH2F1SA"): ("degraded", ["label_unjustified"]),
    }


def test_recorded_corpus_is_usable_but_for_two_and_scorable_but_for_three(
    recorded: SweepResult,
) -> None:
    counts = recorded.frame.select(usable_expr().sum().alias("u"), scorable_expr().sum().alias("s"))

    assert counts.row(0) == (64, 63)
    assert recorded.frame["profile"].null_count() == 5


def test_second_sweep_reads_nothing_and_says_the_same(
    recorded: SweepResult, tmp_path: Path
) -> None:
    write_parquet(tmp_path / "index.parquet", recorded.frame)

    again = sweep(LocalStore(SAMPLE), pl.read_parquet(tmp_path / "index.parquet"), SerialCompute())

    assert (again.n_read, again.n_reused) == (0, 66)
    assert again.frame.equals(recorded.frame)


def test_verdicts_do_not_depend_on_where_they_are_made(store: LocalStore) -> None:
    here = sweep(store, None, SerialCompute())
    elsewhere = sweep(store, None, ProcessCompute(2))

    assert sweep_digest(here.frame) == sweep_digest(elsewhere.frame)


def test_digest_forgets_when_but_not_what(recorded: SweepResult) -> None:
    frame = recorded.frame
    later = frame.with_columns(checked_at=pl.lit("later"), input_key=pl.lit("elsewhere"))
    other = frame.with_columns(status=pl.lit("accepted"))

    assert sweep_digest(later) == sweep_digest(frame.reverse()) == sweep_digest(frame)
    assert sweep_digest(other) != sweep_digest(frame)


def test_only_the_earliest_received_copy_is_used(store: LocalStore) -> None:
    result = sweep(store, None, SerialCompute())

    assert reasons(result) == {OTHER_REF.episode_id: [], REF.episode_id: ["duplicate_content"]}
    assert result.frame.filter(usable_expr())["episode_id"].to_list() == [OTHER_REF.episode_id]
    assert result.frame["episode_id"].to_list() == [OTHER_REF.episode_id, REF.episode_id]


def test_copy_is_no_copy_once_the_original_is_forgotten(store: LocalStore) -> None:
    before = sweep(store, None, SerialCompute())
    store.archive_path(OTHER_REF).unlink()

    after = sweep(store, before.frame, SerialCompute(), accept_loss=True)

    assert reasons(after) == reasons(before)
    assert (after.n_read, after.n_reused, after.n_vanished) == (0, 1, 1)
    assert without_vanished(after.frame).select("episode_id", "status", "reasons").rows() == [
        (REF.episode_id, "accepted", [])
    ]


def test_rejected_original_leaves_its_copy_usable(store: LocalStore) -> None:
    broken = MadeEpisode(OTHER_REF, meta=make_meta(OTHER_REF), labels=[])
    write_index(store.root, [MadeEpisode().write(store.root), broken.write(store.root)])

    assert reasons(sweep(store, None, SerialCompute()))[REF.episode_id] == []


@pytest.mark.parametrize("change", ["touched", "shipped again", "other rules"])
def test_what_changed_is_read_again(
    store: LocalStore, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sweep(store, None, SerialCompute())
    if change == "touched":
        os.utime(store.archive_path(REF), ns=(1, 1))
    elif change == "shipped again":
        row = MadeEpisode(labels=[]).write(store.root)
        write_index(store.root, [*store.read_index().rows.values(), row])
    else:
        monkeypatch.setattr(sweep_module, "RULES_VERSION", "other")

    after = sweep(store, before.frame, SerialCompute())

    assert after.n_read == (2 if change == "other rules" else 1)


def test_errored_episode_is_tried_again(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("cis490_pipeline.store.archive.unpack.stream_sha256", fail)
        broken = sweep(store, None, SerialCompute())
    mended = sweep(store, broken.frame, SerialCompute())

    assert verdict_counts(broken.frame)["counts"]["errored"] == 2
    assert mended.n_read == 2
    assert verdict_counts(mended.frame)["counts"]["errored"] == 0


def test_frame_of_another_layout_is_not_reused(store: LocalStore) -> None:
    before = sweep(store, None, SerialCompute())

    assert sweep(store, before.frame.drop("input_key"), SerialCompute()).n_reused == 0


def test_skipped_lines_unindexed_files_and_progress_are_reported(tmp_path: Path) -> None:
    MadeEpisode().write(tmp_path)
    write_index(tmp_path, [], extra="garbage\n")
    seen: list[tuple[object, ...]] = []

    result = sweep(
        LocalStore(tmp_path),
        None,
        SerialCompute(),
        lambda *at: seen.append(at),
    )

    assert result.skipped_index_rows.n == 1
    assert verdict_counts(result.frame)["reasons"] == {"not_indexed": 1}
    assert result.frame["received_at_wall"].to_list() == [None]
    assert seen == [("validate episodes", 0, 1), ("validate episodes", 1, 1)]


def test_unpacked_folder_is_reused_until_a_member_changes(tmp_path: Path) -> None:
    write_index(tmp_path, [MadeEpisode().write_folder(tmp_path)])
    store = LocalStore(tmp_path)
    before = sweep(store, None, SerialCompute())
    folder = store.path(REF)
    assert folder is not None

    unchanged = sweep(store, before.frame, SerialCompute())
    (folder / "stderr.log").write_bytes(b"said")
    changed = sweep(store, unchanged.frame, SerialCompute())

    assert (unchanged.n_read, changed.n_read) == (0, 1)


def test_empty_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no episode is there; is it mounted"):
        sweep(LocalStore(tmp_path), None, SerialCompute())


def test_store_whose_episodes_are_not_mounted_is_refused(store: LocalStore) -> None:
    shutil.rmtree(store.root / "episodes")

    with pytest.raises(StoreError, match=r"index.jsonl names 2 episodes, but episodes/ is empty"):
        sweep(store, None, SerialCompute())


@pytest.mark.parametrize("place", ["episodes", "episodes/lab-nuc", ".."])
def test_folder_beside_a_store_is_refused_and_the_store_is_named(
    tmp_path: Path, place: str
) -> None:
    root = tmp_path / "lab" / "store"
    write_index(root, [MadeEpisode().write(root)])

    with pytest.raises(StoreError, match=f"did you mean the store in .*{re.escape(str(root))}"):
        sweep(LocalStore(root / place), None, SerialCompute())


def test_store_of_no_readable_name_is_refused_with_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "episodes" / "müller-pi").mkdir(parents=True)

    with pytest.raises(StoreError, match=r"no episode is there \(episodes/müller-pi: no host"):
        sweep(LocalStore(tmp_path), None, SerialCompute())


def test_what_is_no_episode_is_named_and_left_out(tmp_path: Path) -> None:
    row = MadeEpisode().write(tmp_path)
    write_index(tmp_path, [row])
    episodes = tmp_path / "episodes"
    (episodes / "müller-pi").mkdir()
    (episodes / "loose.tar.zst").touch()
    (episodes / REF.host_id / f"{REF.episode_id.lower()}.tar.zst").touch()
    (episodes / REF.host_id / ".arriving.tmp").touch()

    left_out = sweep(LocalStore(tmp_path), None, SerialCompute()).left_out

    assert [text.split(": ")[0] for text in left_out.first] == [
        f"episodes/{REF.host_id}/{REF.episode_id.lower()}.tar.zst",
        "episodes/loose.tar.zst",
        "episodes/müller-pi",
    ]
    assert left_out.n == 3


PI_REF = EpisodeRef("garage-pi", REF.episode_id)


def two_hosts(root: Path, *, received: tuple[str, str], same: bool = False) -> LocalStore:
    """Write one id under two hosts, each of another content unless it is to be the same."""
    rows = []
    for ref, when in zip((REF, PI_REF), received, strict=True):
        flow = make_rows(Source.NETFLOW)
        flow[0]["udp_pkts"] = 0 if same or ref == REF else 7
        made = MadeEpisode(
            ref,
            meta=make_meta(ref),
            rows={s: make_rows(s) for s in Source} | {Source.NETFLOW: flow},
        )
        rows.append(dataclasses.replace(made.write(root), received_at_wall=when))
    write_index(root, rows)
    return LocalStore(root)


@pytest.mark.parametrize("first", [0, 1])
def test_id_under_two_hosts_stays_with_the_first_received_and_both_are_named(
    tmp_path: Path, first: int
) -> None:
    times = ("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z")
    store = two_hosts(tmp_path, received=times if first == 0 else times[::-1])
    owner, other = (REF, PI_REF) if first == 0 else (PI_REF, REF)

    frame = sweep(store, None, SerialCompute()).frame

    by_host = {row["host_id"]: row for row in frame.iter_rows(named=True)}
    assert by_host[owner.host_id]["status"] == "accepted"
    assert by_host[other.host_id]["reasons"] == ["id_mismatch"]
    assert f"the id is also that of {owner}" in by_host[other.host_id]["details"][0]
    assert frame.filter(usable_expr()).height == 1


def test_id_is_free_again_once_its_owner_is_forgotten(tmp_path: Path) -> None:
    store = two_hosts(tmp_path, received=("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"))
    before = sweep(store, None, SerialCompute()).frame
    index = store.read_index().rows
    store.archive_path(REF).unlink()
    write_index(tmp_path, [index[PI_REF]])

    after = sweep(store, before, SerialCompute(), accept_loss=True)

    assert after.n_reused == 1
    kept = without_vanished(after.frame)
    assert kept.select("status", "reasons", "details").rows() == [("accepted", [], [])]


def test_host_that_was_renamed_ships_a_copy_not_another_episode(tmp_path: Path) -> None:
    times = ("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z")

    frame = sweep(two_hosts(tmp_path, received=times, same=True), None, SerialCompute()).frame

    assert frame.filter(host_id="garage-pi")["details"].to_list() == [
        [f"duplicate_content: the same telemetry as {REF}"]
    ]


def test_marks_of_an_earlier_sweep_change_nothing(tmp_path: Path) -> None:
    store = two_hosts(tmp_path, received=("2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"))
    once = sweep(store, None, SerialCompute())

    again = sweep(store, once.frame, SerialCompute())

    assert again.n_reused == 2
    assert_frame_equal(again.frame, once.frame)


def test_mismatch_names_an_earlier_row_that_has_the_digest(tmp_path: Path) -> None:
    row = MadeEpisode().write(tmp_path)
    write_index(tmp_path, [row, dataclasses.replace(row, sha256="0" * 64)])

    (told,) = sweep(LocalStore(tmp_path), None, SerialCompute()).frame["details"].to_list()[0]

    assert told.startswith("sha256_mismatch: ")
    assert "an earlier row of the index has the archive's digest" in told


def test_moved_store_keeps_its_digest(store: LocalStore, tmp_path: Path) -> None:
    other = tmp_path / "moved"
    shutil.copytree(store.root / "episodes", other / "episodes")
    shutil.copy(store.index_path, other / "index.jsonl")

    here, there = (sweep(LocalStore(root), None, SerialCompute()) for root in (store.root, other))

    assert sweep_digest(here.frame) == sweep_digest(there.frame)


def test_episode_under_another_host_is_missing_there_and_not_indexed_here(tmp_path: Path) -> None:
    row = MadeEpisode().write(tmp_path)
    write_index(tmp_path, [dataclasses.replace(row, ref=EpisodeRef("garage-pi", REF.episode_id))])

    result = sweep(LocalStore(tmp_path), None, SerialCompute())

    assert dict(result.frame.select("host_id", "reasons").iter_rows()) == {
        "garage-pi": ["missing_member"],
        "lab-nuc": ["id_mismatch", "not_indexed"],
    }
