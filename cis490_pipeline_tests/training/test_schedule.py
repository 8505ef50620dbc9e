import math

import pytest
import torch

from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.schedule import (
    LARGEST_BATCH,
    WARMUP_START,
    n_total_steps,
    scaled,
    warmup_cosine,
)


def learning_rates(*, total_steps, warmup_fraction, peak=1.0):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = warmup_cosine(optimizer, total_steps=total_steps, warmup_fraction=warmup_fraction)
    rates = []
    for _ in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates, optimizer.param_groups[0]["lr"]


def test_the_rate_rises_straight_to_its_peak_and_ends_at_zero():
    rates, last = learning_rates(total_steps=100, warmup_fraction=0.1)

    steps = [WARMUP_START + (1 - WARMUP_START) * k / 10 for k in range(10)]
    assert rates[:11] == pytest.approx([*steps, 1.0])
    assert last == pytest.approx(0.0, abs=1e-12)


def test_after_the_warmup_the_rate_is_a_cosine():
    rates, _ = learning_rates(total_steps=100, warmup_fraction=0.1, peak=2e-3)

    cosine = [1e-3 * (1 + math.cos(math.pi * k / 90)) for k in range(90)]
    assert rates[10:] == pytest.approx(cosine)


def test_without_warmup_the_first_step_has_the_peak():
    rates, _ = learning_rates(total_steps=5, warmup_fraction=0.0, peak=0.5)

    assert rates[0] == 0.5


@pytest.mark.parametrize("total_steps", [1, 2, 3])
def test_a_training_of_few_steps_has_a_finite_schedule(total_steps):
    rates, last = learning_rates(total_steps=total_steps, warmup_fraction=0.9)

    assert all(0 < rate <= 1 for rate in rates)
    assert math.isfinite(last)


def test_batches_double_until_an_epoch_has_no_more_steps_than_wanted():
    config = TrainConfig(batch_size=64, peak_lr=1e-3, ema_decay=0.99, epoch_steps=100)

    large = scaled(config, 20_000)

    assert large.batch_size == 256
    assert large.peak_lr == pytest.approx(2e-3)
    assert large.ema_decay == pytest.approx(0.99**4)
    assert scaled(config, 6_400) is config


def test_batches_are_sized_by_the_windows_of_an_epoch_where_those_are_bounded():
    config = TrainConfig(batch_size=64, epoch_steps=100, epoch_windows=10_000)

    assert scaled(config, 1_000_000).batch_size == 128


def test_batches_do_not_grow_without_end_nor_unasked():
    assert scaled(TrainConfig(epoch_steps=1), 10**9).batch_size == LARGEST_BATCH
    large = TrainConfig(batch_size=3000, epoch_steps=1)
    assert scaled(large, 10**9) is large
    default = TrainConfig()
    assert scaled(default, 10**9) is default


def test_the_schedule_counts_the_steps_of_bounded_epochs():
    config = TrainConfig(max_epochs=3, batch_size=10, epoch_windows=30)

    # Two parts of 26 and 25 windows.
    assert n_total_steps(config, 51) == 9
    assert n_total_steps(TrainConfig(max_epochs=3, batch_size=10), 51) == 15
