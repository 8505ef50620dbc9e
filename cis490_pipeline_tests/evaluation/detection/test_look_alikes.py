"""Which look-alike ran during a window, and the false alarms of its time."""

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.detection.look_alikes import LOOK_ALIKE_SCHEMA, look_alike_of
from cis490_pipeline.evaluation.detection.outcomes import outcomes
from cis490_pipeline.evaluation.detection.tables import hourly_rates
from cis490_pipeline.evaluation.detection.windows import alarm_windows
from cis490_pipeline_tests.evaluation.alarms import NS_PER_S, labels_of
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

CLEAN = [(0, "clean")]


def ran(*rows):
    return pl.DataFrame(
        [(name, what, round(a * NS_PER_S), round(b * NS_PER_S)) for name, what, a, b in rows],
        schema=LOOK_ALIKE_SCHEMA,
        orient="row",
    )


@pytest.fixture
def clean():
    """Two clean episodes of two hosts; windows of 10 s end at 25, 30, … 70 s."""
    frame = predictions(windows(n_test=2, n_val=0), skill=2)
    return alarm_windows(frame, labels_of({"01EP0000": CLEAN, "01EP0001": CLEAN}))


def test_a_window_is_of_the_look_alike_that_ran_longest_in_it(clean):
    names = look_alike_of(
        clean, ran(("01EP0000", "backup", 17, 29), ("01EP0000", "compile", 30, 44))
    )

    first = ["backup", "backup", "compile", "compile", "compile", "compile", "none"]
    assert names[:7].tolist() == first
    assert set(names[7:]) == {"none"}


def test_false_alarms_of_hosts_and_of_look_alikes_add_up_to_all(clean):
    stands = np.zeros((1, 20), dtype=bool)
    stands[0, [1, 5, 6, 12]] = True

    found = hourly_rates(outcomes(clean, stands), clean, ran(("01EP0001", "backup", 21, 40)))

    by_host = {row["name"]: row["n"] for row in found["by_host"]}
    assert by_host == {"garage-pi": 2, "lab-nuc": 1}
    by_look_alike = {row["name"]: (row["n"], row["device_hours"]) for row in found["by_look_alike"]}
    assert by_look_alike == {
        "backup": (1, pytest.approx(5 * 5 / 3600)),
        "none": (2, pytest.approx(15 * 5 / 3600)),
    }
    assert found["all"]["n"] == 3
    assert found["all"]["device_hours"] == pytest.approx(20 * 5 / 3600)


def test_recordings_that_do_not_say_what_ran_have_no_table(clean):
    found = hourly_rates(outcomes(clean, np.zeros((1, 20), dtype=bool)), clean, None)

    assert found["by_look_alike"] is None
    assert found["why"] == "n/a: the recordings do not say what ran"


def test_a_table_of_another_form_is_refused(clean):
    with pytest.raises(EvaluationError, match="look-alikes have the columns"):
        look_alike_of(clean, ran().drop("activity"))
