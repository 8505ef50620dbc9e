"""What is left of the gauges that creep after a start."""

import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.features.calibration.drifting_gauges import (
    DRIFTING,
    GaugeTreatment,
    drifting_channels,
    treat_gauges,
)
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.summary import STATISTICS, summarize

REALISTIC = Variant.REALISTIC
C = len(channel_names(REALISTIC))
GAUGES = list(drifting_channels(REALISTIC))
OTHERS = [i for i in range(C) if i not in GAUGES]
TREATED = [t for t in GaugeTreatment if t is not GaugeTreatment.RECORDED]


def windows(n=6, seed=0, unknown=0.0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 1, C)) * 5 + rng.normal(size=(n, 100, C)).cumsum(axis=1)).astype("f4")
    x[rng.random(x.shape) < unknown] = np.nan
    return x


def treated(x, kind, treatment):
    """(n, 100, C) windows as tensors or summaries, treated."""
    made = summarize(x) if kind == "summary" else x.transpose(0, 2, 1).copy()
    return treat_gauges(made, kind, REALISTIC, treatment)


def test_the_six_gauges_are_channels_and_five_of_them_deployable():
    assert set(DRIFTING) <= set(channel_names(Variant.ORACLE))
    assert [channel_names(REALISTIC)[i] for i in GAUGES] == list(DRIFTING[1:])


@pytest.mark.parametrize("kind", ["tensor", "summary"])
def test_as_recorded_is_untouched(kind):
    x = windows()

    found = treated(x, kind, GaugeTreatment.RECORDED)

    np.testing.assert_array_equal(
        found, summarize(x) if kind == "summary" else x.transpose(0, 2, 1)
    )


@pytest.mark.parametrize("kind", ["tensor", "summary"])
@pytest.mark.parametrize("treatment", TREATED)
def test_other_channels_stay_and_unknown_stays_unknown(kind, treatment):
    x = windows(unknown=0.2)
    x[2, :, GAUGES[0]] = np.nan

    before, after = (treated(x, kind, t) for t in (GaugeTreatment.RECORDED, treatment))

    def shaped(a):
        return a.reshape(len(a), C, -1)

    np.testing.assert_array_equal(shaped(after)[:, OTHERS], shaped(before)[:, OTHERS])
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))


@pytest.mark.parametrize("kind", ["tensor", "summary"])
@pytest.mark.parametrize("treatment", TREATED)
def test_a_linear_clock_is_lost_entirely(kind, treatment):
    seconds = np.arange(100) / 10
    x = np.zeros((40, 100, C), np.float32)
    starts = 5.0 * np.arange(40)
    x[:, :, GAUGES] = (3 + 0.02 * (starts[:, None] + seconds))[..., None]
    assert np.ptp(treated(x, kind, GaugeTreatment.RECORDED), axis=0).max() > 3

    spread = np.ptp(treated(x, kind, treatment), axis=0)

    np.testing.assert_allclose(spread, 0, atol=2e-5)


@pytest.mark.parametrize("kind", ["tensor", "summary"])
def test_a_step_within_the_window_is_kept(kind):
    flat, step = np.zeros((1, 100, C), np.float32), np.zeros((1, 100, C), np.float32)
    step[:, 60:, GAUGES] = 2

    apart = np.abs(
        treated(step, kind, GaugeTreatment.CENTRED) - treated(flat, kind, GaugeTreatment.CENTRED)
    )

    per_gauge = apart.reshape(1, C, -1)[:, GAUGES].max(axis=2)
    assert (per_gauge > 0.4).all()


def test_dropped_gauges_say_nothing_of_a_step():
    flat, step = np.zeros((1, 100, C), np.float32), np.zeros((1, 100, C), np.float32)
    step[:, 60:, GAUGES] = 2

    for kind in ("tensor", "summary"):
        np.testing.assert_array_equal(
            treated(step, kind, GaugeTreatment.DROPPED), treated(flat, kind, GaugeTreatment.DROPPED)
        )


def test_tensors_are_centred_as_numpy_would():
    x = windows(unknown=0.1)

    found = treated(x, "tensor", GaugeTreatment.CENTRED)

    for i in range(len(x)):
        for c in GAUGES:
            known = ~np.isnan(x[i, :, c])
            values = x[i, known, c].astype(float)
            np.testing.assert_allclose(found[i, c, known], values - values.mean(), atol=1e-4)


def test_summaries_are_those_of_the_treated_values():
    x, centred = windows(), GaugeTreatment.CENTRED
    of_values = summarize(treated(x, "tensor", centred).transpose(0, 2, 1)).reshape(-1, C, 5)
    followed = treated(x, "summary", centred).reshape(-1, C, 5)

    for name in ("mean", "std", "slope", "p95"):
        k = STATISTICS.index(name)
        np.testing.assert_allclose(
            followed[:, GAUGES, k], of_values[:, GAUGES, k], atol=2e-3, err_msg=name
        )
