import os
from pathlib import Path

import numpy as np
import pytest

from cis490_pipeline.errors import DatasetError
from cis490_pipeline.features.grids.row_file import RowFile

ROWS = np.random.default_rng(0).normal(size=(7000, 46)).astype(np.float32)


OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def rows(tmp_path):
    np.save(tmp_path / "shard.npy", ROWS)
    return RowFile.behind(np.load(tmp_path / "shard.npy", mmap_mode="r"))


@pytest.mark.parametrize("length", [1, 7, 100])
def test_spans_are_the_rows_of_the_array(rows, length):
    starts = np.random.default_rng(1).integers(0, len(ROWS) - length + 1, size=50)
    starts[:2] = 0, len(ROWS) - length

    wanted = ROWS[starts[:, None] + np.arange(length)]
    np.testing.assert_array_equal(rows.take(starts, length), wanted)
    assert rows.take(starts[:0], length).shape == (0, length, 46)


def test_a_read_that_gives_less_than_asked_for_goes_on(rows, monkeypatch):
    whole = os.preadv
    monkeypatch.setattr("os.preadv", lambda file, into, at: whole(file, [into[0][:5000]], at))

    np.testing.assert_array_equal(rows.take(np.array([3]), 100)[0], ROWS[3:103])


def test_a_file_cut_short_is_an_error_that_says_where(rows):
    os.truncate(rows.path, rows.offset + 6990 * rows.row_bytes)

    np.testing.assert_array_equal(rows.take(np.array([6980]), 10)[0], ROWS[6980:6990])
    with pytest.raises(DatasetError, match=rf"ends at byte {rows.offset + 6990 * 184}, wanted 184"):
        rows.take(np.array([0, 6981]), 10)


def test_a_file_that_is_gone_is_an_error_that_says_what_to_do(rows):
    rows.path.unlink()

    for use in (rows.take, lambda starts: rows.read_ahead(starts, 1, 0)):
        with pytest.raises(DatasetError, match=r"shard\.npy: cannot be read .* make the dataset"):
            use(np.array([0]))


def test_no_file_stays_open(rows):
    before = len(list(OPEN_FILES.iterdir()))

    rows.take(np.arange(10))
    rows.read_ahead(np.arange(10), 1, 0)

    assert len(list(OPEN_FILES.iterdir())) == before


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (17, 1700), (6999, 7000), (0, 7000)])
def test_reading_ahead_asks_for_every_byte_in_pieces_the_system_grants(
    rows, monkeypatch, start, stop
):
    asked = []

    def advise(file, at, size, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        asked.append((at, at + size))

    monkeypatch.setattr("os.posix_fadvise", advise)
    rows.read_ahead(np.arange(start, stop), 1, 1)

    assert asked[0][0] == rows.offset + start * 184
    assert asked[-1][1] == rows.offset + stop * 184
    assert [first for first, _ in asked[1:]] == [end for _, end in asked[:-1]]
    assert all(end - first <= 2**17 for first, end in asked)


def test_rows_that_are_in_memory_are_no_file():
    with pytest.raises(TypeError, match="only a mapped file has rows on disk, got ndarray"):
        RowFile.behind(np.zeros((10, 46), dtype=np.float32))
