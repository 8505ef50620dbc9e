"""Models without training, and rows of a made-up device."""

import json
from collections.abc import Iterator
from typing import get_args

import numpy as np

from cis490_pipeline.alarm.alarm import Alarm, AlarmSettings
from cis490_pipeline.alarm.forward_filter import PhaseFilter
from cis490_pipeline.domain import NS_PER_S, Source, Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.features.channels import source_channels
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline.live.models import LiveModel
from cis490_pipeline_tests.checkpoints.made_up import make_calibrator
from cis490_pipeline_tests.store.episodes import T0_NS

S = NS_PER_S
KINDS = get_args(InputKind)


class LinearClassifier:
    """A softmax of fixed random projections: any change of its input changes what it says."""

    def __init__(self, n_values, seed=0):
        rng = np.random.default_rng(seed)
        self._weights = rng.normal(size=(n_values, 5)) / np.sqrt(n_values)

    def predict_proba(self, X):
        known = np.nan_to_num(X.reshape(len(X), -1).astype(np.float64))
        logits = known @ self._weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


class Certain:
    """Always says the same phase."""

    def __init__(self, phase):
        self._said = np.full(5, 0.005)
        self._said[phase] = 0.98

    def predict_proba(self, X):
        return np.tile(self._said, (len(X), 1))


def make_alarm():
    stay = np.full((5, 5), 0.02)
    np.fill_diagonal(stay, 0.92)
    settings = AlarmSettings(
        filter=PhaseFilter(
            transition=stay, class_prior=np.full(5, 0.2), emission_power=0.5, step_s=5.0
        ),
        threshold=0.8,
        release=0.3,
        hold_windows=2,
        prior_per_day=1.0,
        fitted_on={"side": "val"},
    )
    return Alarm(settings)


def make_model(
    kind="summary", variant=Variant.REALISTIC, classifier=None, alarm=None, quarantine=()
):
    calibrator = make_calibrator(kind, variant, quarantine)
    n = calibrator.z_mean.size * (100 if kind == "tensor" else 1)
    return LiveModel(
        name=f"{kind}_{variant}",
        calibrator=calibrator,
        classifier=classifier or LinearClassifier(n),
        alarm=alarm,
    )


def all_models(kinds=KINDS):
    return [make_model(kind, variant) for kind in kinds for variant in Variant]


def device_rows(duration_s, *, start_ns=T0_NS, sources=tuple(Source), seed=0) -> Iterator[LiveRow]:
    """Rows of a device at the nominal rates, in order of time; every reading moves."""
    rng = np.random.default_rng(seed)
    times = sorted(
        (start_ns + round(k * S / source.rate_hz), list(Source).index(source), source)
        for source in sources
        for k in range(1, int(duration_s * source.rate_hz + 1e-6) + 1)
    )
    totals = dict.fromkeys(sources, 1000)
    for t, _, source in times:
        totals[source] += int(rng.integers(1, 50))
        channels = source_channels(source)
        yield LiveRow(source, t, tuple(totals[source] + i for i in range(len(channels))))


def as_line(row: LiveRow) -> bytes:
    """The row as a recorder writes it, line feed included."""
    names = [channel.field for _, channel in source_channels(row.source)]
    known = {n: v for n, v in zip(names, row.values, strict=True) if v is not None}
    head = {"t_wall_ns": row.t_wall_ns, "t_mono_ns": row.t_wall_ns, "source": row.source.row_tag}
    return json.dumps(head | known).encode() + b"\n"


def as_rows(source, content):
    """The rows of one member's bytes."""
    return [read_line(line, place="here", number=1, source=source) for line in content.splitlines()]
