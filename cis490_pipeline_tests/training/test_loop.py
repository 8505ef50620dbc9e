import math

import numpy as np
import pytest
import torch
from torch import nn

from cis490_pipeline.errors import TrainingError
from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.training import run
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.loop import reproducible, train_network
from cis490_pipeline.training.run import TrainingRun, decayed_groups, pick_device

N_COLUMNS = 6


class Known(nn.Module):
    """Zeros for NaN, as every network's input layer does."""

    def forward(self, X):
        return torch.nan_to_num(X)


def make_network(seed=0):
    with reproducible(seed=seed, threads=1):
        return nn.Sequential(
            Known(), nn.Linear(N_COLUMNS, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 5)
        )


def make_windows(n=100, seed=0, shift=4.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 5
    X = rng.normal(size=(n, N_COLUMNS)).astype(np.float32)
    X[np.arange(n), y] += shift
    return ArrayWindows(X, y.astype(np.int64), np.array([f"e{i // 10}" for i in range(n)]))


def train(network=None, *, train=None, val=None, progress=None, **settings):
    network = network or make_network()
    defaults = {"max_epochs": 5, "batch_size": 16, "peak_lr": 1e-2}
    history = train_network(
        network,
        make_windows(seed=1) if train is None else train,
        make_windows(50, seed=2) if val is None else val,
        TrainConfig(**(defaults | settings)),
        sources=(slice(0, 3), slice(3, 6)),
        progress=progress,
    )
    return network, history


def weights(network):
    return np.concatenate([p.detach().numpy().ravel() for p in network.state_dict().values()])


def test_separable_phases_are_learnt():
    network, history = train(max_epochs=20)

    assert history.best_val_macro_f1 > 0.9
    assert not network.training


def test_the_same_seed_gives_the_same_weights_to_the_bit():
    first, _ = train(seed=5)
    second, _ = train(seed=5)

    np.testing.assert_array_equal(weights(first), weights(second))


def test_another_seed_gives_other_weights():
    first, _ = train(seed=5)
    second, _ = train(seed=6)

    assert (weights(first) != weights(second)).any()


def test_training_leaves_the_random_state_and_threads_as_they_were():
    torch.manual_seed(11)
    wanted = torch.rand(3)
    torch.manual_seed(11)
    threads = torch.get_num_threads()

    train(threads=threads + 1, max_epochs=1)

    torch.testing.assert_close(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_an_interrupt_leaves_the_threads_as_they_were():
    threads = torch.get_num_threads()

    def interrupt(record):
        raise KeyboardInterrupt("by hand")

    with pytest.raises(KeyboardInterrupt, match="by hand"):
        train(threads=threads + 1, progress=interrupt)

    assert torch.get_num_threads() == threads


def test_the_network_holds_the_weights_of_its_best_epoch():
    states = {}
    val = make_windows(50, seed=2, shift=1.0)
    network = make_network()
    probe = torch.from_numpy(val.X)

    def remember(record):
        states[record.epoch] = record.val_macro_f1

    _, history = train(network, val=val, progress=remember, max_epochs=12)

    chosen = network(probe).argmax(dim=1).numpy()
    hits = [(chosen == k)[val.y == k].sum() for k in range(5)]
    f1 = [2 * h / ((chosen == k).sum() + (val.y == k).sum()) for k, h in enumerate(hits)]
    assert np.mean(f1) == pytest.approx(history.best_val_macro_f1)
    assert history.best_val_macro_f1 == max(states.values())
    assert states[history.best_epoch] == max(states.values())


def test_training_stops_when_patience_ends():
    constant = nn.Sequential(Known(), nn.Linear(N_COLUMNS, 5))
    for parameter in constant.parameters():
        parameter.data.zero_()
    useless = make_windows(shift=0.0)

    _, history = train(constant, train=useless, max_epochs=50, patience_epochs=2, peak_lr=1e-8)

    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 2


def test_patience_in_steps_counts_the_steps_since_the_best_epoch():
    constant = nn.Sequential(Known(), nn.Linear(N_COLUMNS, 5))
    for parameter in constant.parameters():
        parameter.data.zero_()
    settings = {"max_epochs": 50, "batch_size": 20, "patience_epochs": 1, "peak_lr": 1e-8}

    # Epochs of two steps.
    _, history = train(
        constant, train=make_windows(shift=0.0), patience_steps=5, epoch_windows=40, **settings
    )

    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 3


def test_bounded_epochs_take_the_steps_of_their_windows():
    _, history = train(max_epochs=5, batch_size=10, epoch_windows=40)

    # 100 windows in three parts of 34, 33 and 33.
    assert history.n_steps == 5 * 4
    assert history.n_train_windows == 100


class NanAfter(nn.Module):
    """A network whose evaluations become NaN after some number of them."""

    def __init__(self, n_sound):
        super().__init__()
        self.layer = nn.Linear(N_COLUMNS, 5)
        self.n_left = n_sound

    def forward(self, X):
        logits = self.layer(torch.nan_to_num(X))
        if self.training:
            return logits
        self.n_left -= 1
        return logits if self.n_left >= 0 else logits * math.nan


def test_a_nan_score_never_becomes_the_best():
    _, history = train(NanAfter(2), max_epochs=5)

    assert history.best_epoch <= 2
    assert math.isfinite(history.best_val_macro_f1)
    assert [math.isnan(r.val_macro_f1) for r in history.epochs] == [False] * 2 + [True] * 3
    assert history.to_dict()["epochs"][4]["val_macro_f1"] is None


def test_only_nan_scores_are_refused():
    with pytest.raises(TrainingError, match="no epoch of 3 had a finite validation score"):
        train(NanAfter(0), max_epochs=3)


def test_a_phase_absent_from_train_is_refused():
    windows = make_windows()
    windows.y[windows.y == 2] = 0

    with pytest.raises(TrainingError, match="no training window of infecting"):
        train(train=windows)


def test_an_infinite_loss_is_refused():
    windows = make_windows()
    windows.X[3, 3] = np.inf

    with pytest.raises(TrainingError, match=r"epoch 1, step 4: .* norm is inf, the loss inf"):
        train(train=windows, source_dropout=0.0)


def test_nothing_to_validate_on_is_refused():
    with pytest.raises(TrainingError, match="no validation window"):
        train(val=make_windows(0))


def test_progress_hears_of_every_epoch():
    heard = []

    _, history = train(progress=heard.append, max_epochs=3)

    assert tuple(heard) == history.epochs
    assert [record.epoch for record in heard] == [1, 2, 3]


def test_only_matrices_decay():
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv1d(2, 2, 3))

    decayed, spared = decayed_groups(network, 0.02)

    assert {p.ndim for p in decayed["params"]} == {2, 3}
    assert {p.ndim for p in spared["params"]} == {1}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.02, 0.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(TrainingError, match="device is 'cuda', but torch finds none"):
        pick_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_learns_separable_phases():
    network, history = train(max_epochs=20, device="cuda")

    assert history.device == "cuda"
    assert history.best_val_macro_f1 > 0.9
    assert next(network.parameters()).device.type == "cpu"


def test_mixed_precision_learns_on_a_cpu_as_well(monkeypatch):
    monkeypatch.setattr(run, "in_mixed_precision", lambda device: True)

    _, history = train(max_epochs=20)

    assert history.best_val_macro_f1 > 0.9


def test_a_step_that_overflows_float16_is_skipped_and_the_lower_scale_is_resumed_with(monkeypatch):
    monkeypatch.setattr(run, "in_mixed_precision", lambda device: True)
    windows = make_windows()
    first, second = (
        TrainingRun(make_network(), windows, None, TrainConfig(), (), 5) for _ in range(2)
    )
    first.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = {name: value.clone() for name, value in first.network.state_dict().items()}

    first.step(torch.from_numpy(windows.X[:16]), torch.from_numpy(windows.y[:16]))
    second.restore(first.state())

    assert first.n_steps == 0
    assert all(torch.equal(value, before[n]) for n, value in first.network.state_dict().items())
    assert first.scaler.get_scale() == second.scaler.get_scale() == 2.0**39


def test_without_validation_every_epoch_is_trained_and_the_last_is_kept():
    seen = []
    network = make_network()

    history = train_network(
        network,
        make_windows(seed=1),
        None,
        TrainConfig(max_epochs=5, patience_epochs=1, batch_size=16, peak_lr=1e-2),
        sources=(),
        progress=lambda record: seen.append(record.epoch),
    )

    assert seen == [1, 2, 3, 4, 5]
    assert (history.best_epoch, history.n_val_windows, history.stopped_early) == (5, 0, False)
    assert history.to_dict()["best_val_macro_f1"] is None
    held = make_windows(50, seed=2)
    assert (network(torch.from_numpy(held.X)).argmax(dim=1).numpy() == held.y).mean() > 0.9


class Watched(nn.Module):
    """A network that remembers which readings were unknown in training."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(N_COLUMNS, 5)
        self.unknown = []

    def forward(self, X):
        if self.training:
            self.unknown.append(torch.isnan(X).numpy())
        return self.layer(torch.nan_to_num(X))


def test_channel_dropout_masks_all_columns_of_a_channel_in_training():
    network = Watched()
    config = TrainConfig(max_epochs=2, batch_size=50, source_dropout=0.0, channel_dropout=0.3)

    train_network(
        network, make_windows(seed=1), None, config, sources=(slice(0, 6),), columns_per_channel=2
    )

    unknown = np.concatenate(network.unknown).reshape(200, 3, 2)
    assert (unknown[..., 0] == unknown[..., 1]).all()
    assert 0.2 < unknown.mean() < 0.35
    assert not unknown.all(axis=(1, 2)).any()
    assert (unknown[:100] != unknown[100:]).any()


def test_other_classes_than_phases_are_learnt_and_scored():
    network = nn.Sequential(Known(), nn.Linear(N_COLUMNS, 3))
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, N_COLUMNS)).astype(np.float32)
    X[np.arange(90), y] += 6
    windows = ArrayWindows(X, y, np.arange(90).astype(str))

    history = train_network(
        network,
        windows,
        windows,
        TrainConfig(max_epochs=20, batch_size=16, peak_lr=5e-2),
        sources=(),
        n_classes=3,
    )

    assert history.best_val_macro_f1 > 0.95
