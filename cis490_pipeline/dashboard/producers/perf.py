"""Publish inference latencies: ``python -m cis490_pipeline.dashboard.producers.perf``."""

import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from cis490_pipeline.checkpoints.runnable import RunnableModel, load_runnable
from cis490_pipeline.dashboard.producers.options import (
    ProducerCommand,
    publish,
    publish_options,
    run_alone,
    split_options,
)
from cis490_pipeline.dashboard.producers.places import Places
from cis490_pipeline.dashboard.producers.scores import MAX_WHY, require_named
from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.errors import PipelineError, StoreError
from cis490_pipeline.events.contract import Event, ModelFailure, ModelPerf
from cis490_pipeline.events.identity import identified
from cis490_pipeline.features.channels import channel_indices
from cis490_pipeline.features.history import HISTORY_STEPS
from cis490_pipeline.features.windows import STEPS
from cis490_pipeline.live.calibration import Baseline
from cis490_pipeline.live.models import LiveModel, RawWindow
from cis490_pipeline.storage.files import read_object

logger = logging.getLogger(__name__)

WARM_UP: Final = 20


@dataclass(frozen=True)
class Latency:
    """Latency per window, µs, from its grid to its probabilities."""

    p50: float
    p95: float
    p99: float
    mean: float
    n: int


def measure(
    model: RunnableModel,
    n_windows: int,
    *,
    timer: Callable[[], int] = time.perf_counter_ns,
    seed: int = 0,
) -> Latency:
    """Time single windows: features or tensor, calibration, and ONNX Runtime, after 20 for warm-up.

    The windows are random; their content does not affect the time.
    """
    live = LiveModel(name=model.name, calibrator=model.calibrator, classifier=model.classifier)
    rng = np.random.default_rng(seed)
    n_channels = channel_indices(Variant.ORACLE).size
    n_steps = STEPS + (HISTORY_STEPS if model.schema.kind == "history" else 0)
    grids = rng.uniform(0, 12, size=(16, n_steps, n_channels)).astype(np.float32)
    flat = np.ones(n_channels, dtype=np.float32)
    baseline = Baseline(median=flat, iqr=flat, id="made up", cleanliness=None, labelled_clean=None)
    took: npt.NDArray[np.float64] = np.empty(n_windows)
    for i in range(WARM_UP):
        live.predict(RawWindow(grids[i % 16]), baseline)
    for i in range(n_windows):
        began = timer()
        live.predict(RawWindow(grids[i % 16]), baseline)
        took[i] = (timer() - began) / 1e3
    p50, p95, p99 = np.percentile(took, [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99), float(took.mean()), n_windows)


def device_name() -> str:
    """Describe this device: processor, cores, operating system."""
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line for line in lines if line.startswith(("model name", "Model"))]
        model = names[-1].partition(":")[2].strip() if names else ""
    except OSError:
        # Not Linux.
        model = platform.processor()
    return f"{model or platform.machine()}, {os.cpu_count()} processors, {platform.system()}"[:400]


@click.command(cls=ProducerCommand)
@split_options(must_exist=True)
@click.option(
    "--windows",
    "n_windows",
    type=click.IntRange(10, 100_000),
    default=300,
    show_default=True,
    help="Windows timed for each model.",
)
@publish_options
def perf(
    places: Places, n_windows: int, publish_url: str | None, interval_s: float, dry_run: bool
) -> int:
    """Publish each model's latency per window on this device: p50, p95, p99, windows/s.

    One thread, one window at a time, from the grid to the probabilities.
    """
    make = partial(perf_events, places, n_windows)
    publish(make, publish_url, interval_s=interval_s, dry_run=dry_run)
    return 0


def perf_events(places: Places, n_windows: int) -> list[Event]:
    """Measure every model; one that this device cannot run becomes a failure with its reason.

    Such a failure does not replace the model's score.
    """
    device = device_name()
    events: list[Event] = []
    for architecture, variant in places.models():
        name = model_name(architecture, variant)
        event: ModelPerf | ModelFailure
        try:
            model = load_runnable(places.artifacts / name)
            require_named(places.artifacts / name, model.manifest)
            event = _measured(places, model, n_windows, device)
            instance = model.manifest.split_digest
        except (PipelineError, OSError) as fault:
            logger.warning("failed: %s: %s", name, fault)
            event = ModelFailure(
                model=name,
                why=str(fault)[:MAX_WHY],
                split=places.recipe,
                variant=str(variant),
                device=device,
            )
            instance = ""
        events.append(identified(event, instance=instance, recipe=places.recipe, model=name))
    return events


def _measured(places: Places, model: RunnableModel, n_windows: int, device: str) -> ModelPerf:
    latency = measure(model, n_windows)
    return ModelPerf(
        model=model.name,
        latency_us=latency.p50,
        accuracy=_macro_f1(places, model),
        p50_us=latency.p50,
        p95_us=latency.p95,
        p99_us=latency.p99,
        windows_per_s=1e6 / latency.mean,
        device=device,
        variant=model.manifest.variant,
        n_windows=latency.n,
    )


def _macro_f1(places: Places, model: RunnableModel) -> float | None:
    """Macro F1 of the report on this checkpoint; None without one."""
    try:
        report = read_object(places.reports / f"{model.name}.json")
    except StoreError:
        return None
    if report.get("checkpoint_digest") != model.manifest.digest:
        return None
    score = report.get("macro_f1")
    return score if isinstance(score, float) else None


if __name__ == "__main__":
    run_alone(perf)
