"""What holds for one architecture and is not seen from outside."""

import numpy as np
import pytest
import torch
from torch import nn

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError, ConfigError
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.models import registry
from cis490_pipeline.models.base import ModelState
from cis490_pipeline.models.nets.cnn import CnnConfig, CnnNetwork
from cis490_pipeline.models.nets.mlp import MlpConfig, MlpNetwork
from cis490_pipeline.models.nets.recurrent import RecurrentConfig, RecurrentNetwork
from cis490_pipeline.models.nets.transformer import (
    RelativeAttention,
    TransformerConfig,
    TransformerNetwork,
)
from cis490_pipeline.training.loop import reproducible
from cis490_pipeline_tests.models.conftest import fitted_model
from cis490_pipeline_tests.models.made_up import make_windows

NETWORKS = ("mlp", "cnn", "gru", "lstm", "transformer")


@pytest.mark.parametrize(
    ("architecture", "low", "high"),
    [
        ("mlp", 100_000, 170_000),
        ("cnn", 140_000, 170_000),
        ("gru", 60_000, 75_000),
        ("lstm", 75_000, 90_000),
        ("transformer", 100_000, 120_000),
    ],
)
def test_networks_are_of_the_size_that_worked(architecture, low, high):
    model = fitted_model(architecture, Variant.ORACLE)

    assert low < sum(p.numel() for p in model.network_.parameters()) < high


@pytest.mark.parametrize("architecture", NETWORKS)
def test_weights_of_another_size_are_refused_by_tensor(architecture):
    state = fitted_model(architecture, Variant.REALISTIC).state()
    wide = {**state.arrays, "head.bias": np.zeros(6, dtype=np.float32)}

    with pytest.raises(
        CheckpointError, match=r"'head.bias' is float32 \(6,\), wanted float32 \(5,\)"
    ):
        registry.create(architecture, "realistic", seed=0).restore(ModelState(wide), {})


@pytest.mark.parametrize("architecture", NETWORKS)
def test_a_missing_tensor_is_refused_by_name(architecture):
    arrays = dict(fitted_model(architecture, Variant.REALISTIC).state().arrays)
    del arrays["head.weight"]

    with pytest.raises(CheckpointError, match=r"'head\.weight' is none, wanted float32"):
        registry.create(architecture, "realistic", seed=0).restore(ModelState(arrays), {})


def strided_network(architecture, stem_stride):
    sources = (slice(0, 2), slice(2, 4))
    with reproducible(seed=0, threads=1):
        if architecture == "cnn":
            return CnnNetwork(4, sources, CnnConfig(stem_stride=stem_stride)).eval()
        return RecurrentNetwork(nn.GRU, 4, sources, RecurrentConfig(stem_stride=stem_stride)).eval()


@pytest.mark.parametrize("stem_stride", [1, 2, 4, 5])
@pytest.mark.parametrize("architecture", ["cnn", "gru"])
def test_a_strided_network_sees_every_step_of_a_window(architecture, stem_stride):
    X = torch.randn(1, 4, 100, generator=torch.Generator().manual_seed(1)).requires_grad_()

    strided_network(architecture, stem_stride).embed(X).sum().backward()

    assert (X.grad.abs().sum(dim=(0, 1)) > 0).all()


@pytest.mark.parametrize(("n_steps", "n_tokens"), [(100, 20), (24, 5), (26, 6), (3, 1)])
def test_a_transformer_sees_every_step_of_a_window_of_any_length(n_steps, n_tokens):
    with reproducible(seed=0, threads=1):
        network = TransformerNetwork(4, n_steps, (slice(0, 4),), TransformerConfig()).eval()
    X = torch.randn(1, 4, n_steps, generator=torch.Generator().manual_seed(1)).requires_grad_()

    network.embed(X).square().sum().backward()

    assert network.position.shape[1] == n_tokens
    assert (X.grad.abs().sum(dim=(0, 1)) > 0).all()


@pytest.mark.parametrize("architecture", ["cnn", "gru"])
def test_a_stem_leaves_one_step_of_four_to_the_layers_after_it(architecture):
    network = strided_network(architecture, 4)

    shortened = network.stem(network.inputs(torch.zeros(1, 4, 100)))

    assert shortened.shape[2] == 25


@pytest.mark.parametrize("architecture", ["cnn", "gru"])
def test_a_strided_network_tells_unknown_from_the_usual_value(architecture):
    network = strided_network(architecture, 4)
    quiet = torch.zeros(1, 4, 100)
    dead = quiet.clone()
    dead[:, 2:] = torch.nan

    assert torch.isfinite(network(dead)).all()
    assert (network(dead) != network(quiet)).any()


def test_a_network_without_a_stem_has_no_weights_of_one():
    names = CnnNetwork(4, (slice(0, 4),), CnnConfig()).state_dict()

    assert not [name for name in names if name.startswith("stem")]


def test_the_forget_gates_of_an_lstm_start_open():
    network = RecurrentNetwork(nn.LSTM, 4, (slice(0, 4),), RecurrentConfig(hidden=3))

    sums = network.recurrent.bias_ih_l0 + network.recurrent.bias_hh_l0

    assert sums.tolist() == [0] * 3 + [1] * 3 + [0] * 6


def test_recurrent_weights_start_orthogonal():
    network = RecurrentNetwork(nn.GRU, 4, (slice(0, 4),), RecurrentConfig(hidden=8))

    for gate in network.recurrent.weight_hh_l0_reverse.split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), rtol=0, atol=1e-5)


def test_the_perceptron_scales_by_known_percentiles_of_train():
    model = registry.create("mlp", "realistic", seed=0)
    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, size=(4000, model.spec.n_columns)).astype(np.float32)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[:, 1] = 5.0
    X[:, 2] = np.nan
    network = model._build()

    model._prepare(network, ArrayWindows(X, np.zeros(4000, dtype=np.int64), np.array(["e"] * 4000)))

    assert network.center[0].item() == pytest.approx(3, abs=0.2)
    assert network.scale[0].item() == pytest.approx(2, abs=0.2)
    assert (network.center[1].item(), network.scale[1].item()) == pytest.approx((5, 0.1))
    assert (network.center[2].item(), network.scale[2].item()) == pytest.approx((0, 0.1))


def test_the_perceptron_clips_smoothly_at_three():
    network = MlpNetwork(2, (slice(0, 2),), MlpConfig(widths=(3,)))
    network.layers = nn.Identity()

    embedding = network.embed(torch.tensor([[0.1, 1e4]]))

    assert embedding[0].tolist() == pytest.approx([0.1, 3, 0.9487], abs=1e-3)


def test_the_bias_of_attention_depends_on_the_distance_alone():
    attention = RelativeAttention(4, TransformerConfig())

    bias = torch.arange(7)[attention.distance]

    assert bias.tolist() == [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]


@pytest.mark.parametrize(
    ("architecture", "config", "problem"),
    [
        ("transformer", {"width": 63}, "width must be a multiple of n_heads"),
        ("transformer", {"stem_kernel": 4}, "stem_kernel must be odd"),
        ("cnn", {"kernels": (7, 4)}, "kernels must be odd"),
        ("cnn", {"widths": (0,)}, "widths must be positive"),
        ("mlp", {"widths": (-1,)}, "widths must be positive"),
        ("gru", {"stem_kernel": 2}, "stem_kernel must be odd"),
        ("gru", {"stem_stride": 10}, "must not exceed the first convolution's 5 steps, got 10"),
        ("lstm", {"stem_stride": 3}, "must divide a window's 100 steps, got 3"),
        ("cnn", {"stem_stride": 10}, "must not exceed the first convolution's 7 steps, got 10"),
        ("gbt", {"max_depth": 0}, "max_depth must be between 1 and 16"),
        ("lstm", {"n_layers": 2}, "unknown setting 'n_layers'"),
    ],
)
def test_senseless_sizes_are_refused(architecture, config, problem):
    with pytest.raises(ConfigError, match=problem):
        registry.create(architecture, "oracle", seed=0, config=config)


def test_trees_keep_only_the_rounds_up_to_the_best():
    model = registry.create(
        "gbt", "realistic", seed=0, config={"max_rounds": 200, "patience_rounds": 3, "eta": 0.5}
    )
    shape = model.spec.shape

    model.fit(make_windows(shape, seed=1), make_windows(shape, 30, seed=2))

    history = model.history_
    losses = [record["val_loss"] for record in history["epochs"]]
    assert history["stopped_early"]
    assert model.booster_.num_boosted_rounds() == history["best_epoch"]
    assert losses[history["best_epoch"] - 1] == min(losses)
    p = model.predict_proba(make_windows(shape, 30, seed=2).X)
    assert p.shape == (30, 5)


def test_a_damaged_booster_is_refused():
    with pytest.raises(CheckpointError, match=r"model\.ubj is no XGBoost model"):
        registry.create("gbt", "realistic", seed=0).restore(ModelState(booster=b"{nothing"), {})


def test_a_booster_of_the_other_variant_is_refused():
    state = fitted_model("gbt", Variant.ORACLE).state()

    with pytest.raises(CheckpointError, match="it takes 230 features, the model 145"):
        registry.create("gbt", "realistic", seed=0).restore(state, {})


@pytest.mark.parametrize("n_classes", [2, 9])
def test_a_network_tells_as_many_classes_as_it_is_built_for(n_classes):
    sources, X = (slice(0, 4),), torch.zeros(3, 4, 30)
    networks = [
        CnnNetwork(4, sources, CnnConfig(), n_classes=n_classes),
        RecurrentNetwork(nn.GRU, 4, sources, RecurrentConfig(), n_classes=n_classes),
        RecurrentNetwork(nn.LSTM, 4, sources, RecurrentConfig(), n_classes=n_classes),
        TransformerNetwork(4, 30, sources, TransformerConfig(), n_classes=n_classes),
    ]

    assert all(network.eval()(X).shape == (3, n_classes) for network in networks)
    flat = MlpNetwork(4, sources, MlpConfig(), n_classes=n_classes)
    assert flat.eval()(X[:, :, 0]).shape == (3, n_classes)
