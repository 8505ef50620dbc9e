import pytest
import torch
from torch import nn

from cis490_pipeline.training.average import AveragedNetwork


def network(value):
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_the_average_follows_its_recurrence():
    averaged = AveragedNetwork(network(0.0), decay=0.15)

    averaged.update(network(1.0))
    averaged.update(network(2.0))

    # The first decay is warm-up's 1/10, the second would be 2/11 but for the limit.
    first = 0.9
    assert averaged.network.weight.item() == pytest.approx(0.15 * first + 0.85 * 2.0)


def test_the_average_is_a_network_of_its_own():
    original = network(1.0)
    averaged = AveragedNetwork(original, decay=0.9)

    averaged.update(network(5.0))

    assert original.weight.item() == 1.0


def test_batchnorm_statistics_are_averaged_and_its_counter_copied():
    trained = nn.BatchNorm1d(2)
    averaged = AveragedNetwork(trained, decay=0.99)
    trained(torch.randn(8, 2) + 5)

    averaged.update(trained)

    assert averaged.network.num_batches_tracked.item() == 1
    torch.testing.assert_close(averaged.network.running_mean, trained.running_mean * 0.9)
    assert not averaged.network.training
