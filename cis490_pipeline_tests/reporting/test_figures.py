import struct

import pytest

from cis490_pipeline.reporting.figures import (
    confusion_png,
    leaderboard_png,
    learning_curve_png,
)
from cis490_pipeline_tests.evaluation.boards import board_of


@pytest.fixture(scope="module")
def pictures():
    # A name with a dollar sign would start mathematics, and fail to parse.
    board, reports, _ = board_of(name="$\\frac{}_{}")
    board["rows"][0] |= {"macro_f1": None, "ci_low": None, "ci_high": None}
    history = {
        "epochs": [
            {"epoch": n, "train_loss": 1 / n, "val_loss": None, "val_macro_f1": 0.5, "lr": None}
            for n in range(1, 41)
        ],
        "best_epoch": 12,
    }
    return {
        "leaderboard": leaderboard_png(board),
        "confusion": confusion_png(reports[0]),
        "learning curve": learning_curve_png("$\\frac{}_{}", history),
        "no training": learning_curve_png("gbt_realistic", {}),
    }


@pytest.mark.parametrize("name", ["leaderboard", "confusion", "learning curve", "no training"])
def test_a_picture_is_a_png_small_enough_for_metadata(pictures, name):
    picture = pictures[name]

    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 100_000
    width, height = struct.unpack(">II", picture[16:24])
    assert 300 < width < 1000
    assert 200 < height < 1000
