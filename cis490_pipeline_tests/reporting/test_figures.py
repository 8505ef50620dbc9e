import struct

import pytest

from cis490_pipeline.reporting.figures import confusion_png, leaderboard_png
from cis490_pipeline_tests.evaluation.boards import board_of


@pytest.fixture(scope="module")
def pictures():
    # A name with a dollar sign would start mathematics, and fail to parse.
    board, reports, _ = board_of(name="$\\frac{}_{}")
    board["rows"][0] |= {"macro_f1": None, "ci_low": None, "ci_high": None}
    return {"leaderboard": leaderboard_png(board), "confusion": confusion_png(reports[0])}


@pytest.mark.parametrize("name", ["leaderboard", "confusion"])
def test_a_picture_is_a_png_small_enough_for_metadata(pictures, name):
    picture = pictures[name]

    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 100_000
    width, height = struct.unpack(">II", picture[16:24])
    assert 300 < width < 1000
    assert 200 < height < 1000
