"""Channels in quarantine: unknown in every kind of window, and nothing is fitted on them."""

from typing import get_args

import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.calibration.calibrator import (
    MIN_SCALE,
    CalibrationMode,
    Calibrator,
    Scaling,
)
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.columns import STORED

KINDS = get_args(InputKind)
REALISTIC = Variant.REALISTIC
NAMES = channel_names(REALISTIC)
HIDDEN = ("guest.load_1m", "guest.top_rss_bytes")
PLACES = [NAMES.index(name) for name in HIDDEN]
OTHERS = np.setdiff1d(np.arange(len(NAMES)), PLACES)


def windows(kind, seed=0):
    """Windows of a kind, with medians and spreads of their devices."""
    rng = np.random.default_rng(seed)
    n = 100 if kind == "tensor" else len(STORED[kind])
    X = rng.normal(5, 2, (12, len(NAMES), n)).astype(np.float32)
    baselines = rng.uniform(1, 2, (2, 12, len(NAMES))).astype(np.float32)
    return X if kind == "tensor" else X.reshape(12, -1), *baselines


def fitted(batch, kind, quarantine, mode=CalibrationMode.EPISODE_BASELINE, scaling=Scaling.TRAIN):
    return Calibrator.fit(
        mode, REALISTIC, kind, batch[2], lambda: [batch], scaling=scaling, quarantine=quarantine
    )


def by_channel(X):
    return X.reshape(len(X), len(NAMES), -1)


@pytest.mark.parametrize("scaling", Scaling)
@pytest.mark.parametrize("mode", CalibrationMode)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_unknown_and_every_other_channel_as_it_was(kind, mode, scaling):
    batch = windows(kind)
    recorded = batch[0].copy()
    plain, blind = (fitted(batch, kind, q, mode, scaling) for q in ((), HIDDEN))

    before, after = (by_channel(c.apply(*batch)) for c in (plain, blind))

    assert np.isnan(after[:, PLACES]).all()
    assert after[:, OTHERS].tobytes() == before[:, OTHERS].tobytes()
    assert not np.isnan(before).any()
    assert batch[0].tobytes() == recorded.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_it_is_fitted(kind):
    batch = windows(kind)
    by_channel(other := batch[0].copy())[:, PLACES] += 3
    other_iqr = batch[2].copy()
    other_iqr[:, PLACES] *= 9

    here, there = (fitted(b, kind, HIDDEN) for b in (batch, (other, batch[1], other_iqr)))

    assert here.digest == there.digest
    assert (here.floor[PLACES] == MIN_SCALE).all()
    assert fitted(batch, kind, ()).digest != fitted((other, *batch[1:]), kind, ()).digest


def test_names_are_those_of_the_variant_in_the_order_of_its_channels():
    batch = windows("summary")

    turned = fitted(batch, "summary", ["proc.rss_bytes", *HIDDEN[::-1]])

    assert turned.quarantine == HIDDEN
    assert turned.digest == fitted(batch, "summary", HIDDEN).digest
    assert len({fitted(batch, "summary", q).digest for q in ((), HIDDEN, HIDDEN[:1])}) == 3
    again = Calibrator.from_arrays(
        turned.mode, REALISTIC, "summary", turned.arrays(), quarantine=HIDDEN
    )
    assert again.digest == turned.digest


def test_a_model_that_would_see_nothing_is_refused():
    with pytest.raises(CalibrationError, match="must be some of its channels, not all"):
        fitted(windows("summary"), "summary", NAMES)
