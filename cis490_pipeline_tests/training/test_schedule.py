import math

import pytest
import torch

from cis490_pipeline.training.schedule import WARMUP_START, warmup_cosine


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
