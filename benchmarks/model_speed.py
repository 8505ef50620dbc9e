"""What the training loop costs beside a bare one, and how long one window takes to judge."""

import copy
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.measuring import interleaved, ratio
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.domain import Architecture, Variant
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.models import registry
from cis490_pipeline.models.nets.neural import NeuralModel
from cis490_pipeline.training.balance import class_weights
from cis490_pipeline.training.batches import epoch_blocks, read_batches
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.loop import reproducible, train_network
from cis490_pipeline.training.run import decayed_groups

NETWORKS = ("mlp", "cnn", "gru", "lstm", "transformer")
WARM_UP_CALLS = 200


def bare_loop(network: nn.Module, train: ArrayWindows, config: TrainConfig) -> None:
    """Train with nothing but batches, the loss, and the optimizer.

    Same order of windows, batch size, weighted and smoothed loss, and AdamW as the project's loop;
    no source dropout, gradient clipping, schedule, guards, averaged weights or history.
    """
    weights = torch.tensor(class_weights(train.y, config.class_weight_power), dtype=torch.float32)
    optimizer = torch.optim.AdamW(decayed_groups(network, config.weight_decay), lr=config.peak_lr)
    network.train()
    with reproducible(seed=config.seed, threads=config.threads):
        for epoch in range(1, config.max_epochs + 1):
            blocks = epoch_blocks(
                train.episode_numbers,
                seed=config.seed,
                epoch=epoch,
                block_episodes=config.block_episodes,
            )
            for batch in read_batches(train, blocks, config.batch_size):
                logits = network(torch.from_numpy(train.take(batch)))
                target = torch.from_numpy(train.y[batch])
                loss = cross_entropy(
                    logits, target, weight=weights, label_smoothing=config.label_smoothing
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()


def training_speed(
    name: str, train: ArrayWindows, *, epochs: int, repetitions: int
) -> dict[str, Any]:
    """Windows per second of both loops on the same windows, interleaved, by CPU time.

    Validation belongs to neither: the project's loop is run without a validation side.
    """
    model = registry.create(name, Variant.REALISTIC, seed=0, config={"max_epochs": epochs})
    assert isinstance(model, NeuralModel)
    network, sources = model._build(), model.spec.source_columns

    def ours() -> None:
        train_network(copy.deepcopy(network), train, None, model.config, sources=sources)

    def bare() -> None:
        bare_loop(copy.deepcopy(network), train, model.config)

    seconds = interleaved({"ours": ours, "bare": bare}, repetitions=repetitions)
    speed = {what: len(train) * epochs / np.median(took) for what, took in seconds.items()}
    return {
        "model": name,
        "ours_windows_per_s": round(float(speed["ours"])),
        "bare_windows_per_s": round(float(speed["bare"])),
        # Of the same round each: neighbours on the machine slow both.
        "share": round(ratio(seconds, "bare", "ours"), 3),
    }


def latency(
    name: str, variant: str, onnx: bytes, windows: ArrayWindows, *, calls: int
) -> dict[str, Any]:
    """Milliseconds of one window by ONNX Runtime on one thread, wall time, after a warm-up."""
    classifier = OnnxClassifier(onnx, threads=1)
    X = [windows.X[i % len(windows) : i % len(windows) + 1] for i in range(calls)]
    for x in X[:WARM_UP_CALLS]:
        classifier.predict_proba(x)
    took = []
    for x in X:
        start = time.perf_counter_ns()
        classifier.predict_proba(x)
        took.append(time.perf_counter_ns() - start)
    p50, p95, p99 = np.percentile(took, (50, 95, 99)) / 1e6
    return {
        "model": name,
        "variant": variant,
        "p50_ms": round(float(p50), 4),
        "p95_ms": round(float(p95), 4),
        "p99_ms": round(float(p99), 4),
        "calls": calls,
    }


def parameters(name: str, variant: Variant = Variant.REALISTIC) -> int | None:
    """Learnt weights of a network; None of the trees."""
    if name == Architecture.GBT:
        return None
    model = registry.create(name, variant, seed=0)
    assert isinstance(model, NeuralModel)
    return sum(p.numel() for p in model._build().parameters())
