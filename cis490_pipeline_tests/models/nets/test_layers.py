import numpy as np
import pytest
import torch

from cis490_pipeline.models.nets.layers import AttentionPool, MaskedInput

NAN = float("nan")


def test_unknown_becomes_zero_beside_the_known_share_of_each_source():
    layer = MaskedInput((slice(0, 2), slice(2, 3)))

    filled = layer(torch.tensor([[1.0, NAN, 3.0], [NAN, NAN, NAN]]))

    torch.testing.assert_close(
        filled, torch.tensor([[1.0, 0.0, 3.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    )


def test_masks_of_a_tensor_are_by_step():
    layer = MaskedInput((slice(0, 2),))

    filled = layer(torch.tensor([[[1.0, NAN], [2.0, 5.0]]]))

    torch.testing.assert_close(filled, torch.tensor([[[1.0, 0.0], [2.0, 5.0], [1.0, 0.5]]]))


def test_unknown_readings_give_finite_gradients():
    weight = torch.ones(4, requires_grad=True)
    layer = MaskedInput((slice(0, 3),))

    (layer(torch.tensor([[1.0, NAN, 2.0]])) * weight).sum().backward()

    np.testing.assert_allclose(weight.grad.numpy(), [1, 0, 2, 2 / 3], rtol=1e-6)


def test_pooling_a_constant_sequence_gives_the_constant_thrice():
    pooled = AttentionPool(2)(torch.tensor([3.0, -1.0]).expand(1, 7, 2))

    assert pooled[0].tolist() == pytest.approx([3, -1, 3, -1, 3, -1])
