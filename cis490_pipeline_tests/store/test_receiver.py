import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.storage.data_paths import DataPaths
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.store.episodes import (
    OTHER_REF,
    REF,
    MadeEpisode,
    index_row,
    write_index,
)


def test_last_row_of_an_episode_counts_and_the_first_receipt_stays(tmp_path: Path) -> None:
    first = index_row(REF, b"first", "2026-11-22T10:00:00Z")
    again = index_row(REF, b"again", "2026-11-23T10:00:00.5Z")
    write_index(tmp_path, [first, again])

    row = LocalStore(tmp_path).read_index().rows[REF]

    assert row.sha256 == again.sha256
    assert row.received_at_wall == "2026-11-22T10:00:00.000000Z"


SOUND_LINE: dict[str, object] = {
    "received_at_wall": "2026-11-22T10:00:00Z",
    "host_id": "garage-pi",
    "episode_id": OTHER_REF.episode_id,
    "sha256": None,
    "bytes": None,
    "schema_version": 1,
}


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "{}",
        '{"x": ' + "[" * 100_000,
        *[
            json.dumps(SOUND_LINE | fault)
            for fault in (
                {"received_at_wall": "noon"},
                {"received_at_wall": "2026-11-22T10:00:00"},
                {"received_at_wall": "2026-11-22T10:00:00+01:00"},
                {"host_id": "../a"},
                {"host_id": "müller-pi"},
                {"host_id": ".hidden"},
                {"host_id": "a b"},
                {"host_id": "a" * 64},
                {"episode_id": OTHER_REF.episode_id[:-1] + "U"},
                {"episode_id": "8" + OTHER_REF.episode_id[1:]},
                {"sha256": "abc"},
                {"sha256": "sha256:" + "a" * 64},
                {"bytes": -1},
                {"bytes": 2**63},
                {"bytes": 1.0},
                {"schema_version": -1},
                {"schema_version": 2**70},
                {"received_at_wall": "0001-01-01T00:00:00Z"},
                {"received_at_wall": "9999-12-31T00:00:00Z"},
                {"received_at_wall": 1795341600},
                {"commit": "x" * 70_000},
                {"schema_version": "1"},
            )
        ],
    ],
    ids=lambda line: line[:60],
)
def test_line_that_is_no_index_row_is_skipped_with_its_number(tmp_path: Path, line: str) -> None:
    write_index(tmp_path, [index_row(REF, b"")], extra=line + "\n")

    index = LocalStore(tmp_path).read_index()

    assert list(index.rows) == [REF]
    assert [text.split(":")[0] for text in index.skipped.first] == ["index.jsonl line 2"]


def test_receipts_sort_as_text_as_they_do_in_time(tmp_path: Path) -> None:
    rows = [index_row(REF, b"", "2026-11-22T10:00:00Z")]
    rows += [index_row(OTHER_REF, b"", "2026-11-22T10:00:00.5Z")]
    write_index(tmp_path, rows)

    read = LocalStore(tmp_path).read_index().rows

    assert read[REF].received_at_wall < read[OTHER_REF].received_at_wall


def test_missing_store_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere: no such store; set CIS490_STORE"):
        LocalStore(tmp_path / "nowhere").read_index()


def test_a_lab_hosts_own_folder_needs_no_index(tmp_path: Path) -> None:
    MadeEpisode().write_folder(tmp_path)
    store = LocalStore(tmp_path)

    assert store.read_index().rows == {}
    assert store.episodes() == [REF]


def test_episodes_are_those_indexed_and_those_on_disk_once_each(tmp_path: Path) -> None:
    MadeEpisode().write(tmp_path)
    MadeEpisode().write_folder(tmp_path)
    (tmp_path / "episodes" / REF.host_id / "notes.txt").touch()
    (tmp_path / "episodes" / "müller-pi").mkdir()
    write_index(tmp_path, [index_row(OTHER_REF, b"")])

    assert LocalStore(tmp_path).episodes() == [REF, OTHER_REF]


def test_archive_wins_over_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    MadeEpisode().write_folder(tmp_path)
    folder = store.path(REF)
    MadeEpisode().write(tmp_path)

    assert folder == tmp_path / "episodes" / REF.host_id / REF.episode_id
    assert store.path(REF) == store.archive_path(REF)
    assert store.path(EpisodeRef("a", OTHER_REF.episode_id)) is None


def test_made_files_lie_where_the_design_says() -> None:
    paths = DataPaths(Path("data"))

    assert [
        path.as_posix()
        for path in (
            paths.validation,
            paths.grids("0123456789abcdef0123"),
            paths.validation_index("host"),
            paths.split("host"),
            paths.feature_dir("host"),
            paths.tensor_dir("host"),
            paths.checkpoint("host", "gbt_oracle"),
            paths.report_json("host", "gbt_oracle"),
            paths.leaderboard("host"),
            paths.report_html("host"),
            paths.dagster,
            paths.lock("host"),
        )
    ] == [
        "data/processed/validation_v1.parquet",
        "data/processed/grids/0123456789abcdef",
        "data/processed/host/validation_index.parquet",
        "data/processed/host/split_v1.json",
        "data/processed/host/features_window_v1",
        "data/processed/host/tensor_window_v1",
        "data/artifacts/host/gbt_oracle",
        "data/reports/host/gbt_oracle.json",
        "data/reports/host/leaderboard.json",
        "data/reports/host/report.html",
        "data/dagster",
        "data/processed/host/.lock",
    ]


def test_byte_order_mark_and_capitals_in_a_digest_are_read(tmp_path: Path) -> None:
    line = json.dumps(SOUND_LINE | {"sha256": "AB" * 32}).encode()
    (tmp_path / "index.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\r\n")

    index = LocalStore(tmp_path).read_index()

    assert [row.sha256 for row in index.rows.values()] == ["ab" * 32]
    assert index.skipped.n == 0


def test_digests_of_earlier_rows_are_known(tmp_path: Path) -> None:
    shipped = [index_row(REF, content) for content in (b"1", b"2", b"1", b"3")]
    write_index(tmp_path, shipped)

    row = LocalStore(tmp_path).read_index().rows[REF]

    assert row.sha256 == shipped[3].sha256
    assert set(row.earlier_sha256) == {shipped[0].sha256, shipped[1].sha256}


def test_line_without_end_is_one_line_that_is_no_row(tmp_path: Path) -> None:
    write_index(tmp_path, [index_row(REF, b"")], extra="x" * 5_000_000)

    index = LocalStore(tmp_path).read_index()

    assert (list(index.rows), index.skipped.n) == ([REF], 1)
    assert index.skipped.first == ["index.jsonl line 2: has over 65536 bytes"]


def test_of_many_lines_that_are_no_rows_a_thousand_are_named_and_all_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / "index.jsonl").write_bytes(b"{}\n" * 5000)

    skipped = LocalStore(tmp_path).read_index().skipped

    assert (skipped.n, len(skipped.first)) == (5000, 1000)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_index_that_is_no_regular_file_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    MadeEpisode().write(tmp_path)
    make(tmp_path / "index.jsonl")
    store = LocalStore(tmp_path)

    told = r"index.jsonl: cannot be read: is a (pipe|device|folder), not a regular file"
    with pytest.raises(StoreError, match=told):
        store.read_index()
    with pytest.raises(StoreError, match=told):
        store.listing_digest()


def test_index_over_its_limit_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "index.jsonl").open("wb") as sparse:
        sparse.truncate(8 << 30)

    with pytest.raises(StoreError, match="has 8589934592 bytes, at most 1073741824 are read"):
        LocalStore(tmp_path).listing_digest()
