import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cis490_pipeline.features.datasets.window_data import ArrayWindows
from cis490_pipeline.training.config import TrainConfig
from cis490_pipeline.training.loop import train_network
from cis490_pipeline.training.snapshot import Snapshots
from cis490_pipeline_tests.training.test_loop import make_network, make_windows, weights

CONFIG = TrainConfig(max_epochs=4, batch_size=16, peak_lr=1e-2, seed=3)
SOURCES = (slice(0, 3), slice(3, 6))


class Killed(BaseException):
    """Stands for a signal: nothing of the training may catch it."""


class FragileWindows(ArrayWindows):
    """Windows that end the training when they are asked for once too often."""

    left = np.inf

    def take(self, indices):
        object.__setattr__(self, "left", self.left - 1)
        if self.left < 0:
            raise Killed
        return super().take(indices)


def fragile(left):
    windows = make_windows(seed=1)
    broken = FragileWindows(windows.X, windows.y, windows.groups)
    object.__setattr__(broken, "left", left)
    return broken


def train(path=None, *, windows=None, config=CONFIG, about=None, val=None, progress=None):
    network = make_network()
    snapshots = Snapshots(path, about or {"dataset": "a"}) if path is not None else None
    history = train_network(
        network,
        make_windows(seed=1) if windows is None else windows,
        make_windows(50, seed=2, shift=1.0) if val is None else val,
        config,
        sources=SOURCES,
        snapshots=snapshots,
        progress=progress,
    )
    return network, history, snapshots


@pytest.fixture(scope="module")
def whole():
    network, history, _ = train()
    return weights(network), history


def test_noting_the_state_changes_nothing(whole, tmp_path):
    network, history, snapshots = train(tmp_path / "state")

    np.testing.assert_array_equal(weights(network), whole[0])
    assert history == whole[1]
    assert snapshots.resumed_epoch == 0


@pytest.mark.parametrize("batch", range(0, 28, 3))
def test_training_cut_off_at_any_batch_ends_with_the_weights_of_one_never_cut(
    whole, tmp_path, batch
):
    with pytest.raises(Killed):
        train(tmp_path / "state", windows=fragile(batch))

    network, history, snapshots = train(tmp_path / "state")

    np.testing.assert_array_equal(weights(network), whole[0])
    assert history == whole[1]
    assert snapshots.resumed_epoch == batch // 7


def test_training_cut_off_many_times_ends_the_same(whole, tmp_path):
    for _ in range(3):
        with pytest.raises(Killed):
            train(tmp_path / "state", windows=fragile(9))

    network, history, snapshots = train(tmp_path / "state")

    np.testing.assert_array_equal(weights(network), whole[0])
    assert (history, snapshots.resumed_epoch) == (whole[1], 3)


def test_training_that_had_ended_is_not_gone_on_with(tmp_path):
    config = replace(CONFIG, max_epochs=40, patience_epochs=2)
    first, history, _ = train(tmp_path / "state", config=config)
    heard = []

    again, same, _ = train(tmp_path / "state", config=config, progress=heard.append)

    assert history.stopped_early
    assert same == history
    assert heard == []
    np.testing.assert_array_equal(weights(again), weights(first))


@pytest.mark.parametrize("since_best", [0, 2])
def test_bounded_epochs_and_patience_in_steps_go_on_as_if_never_cut(tmp_path, since_best):
    config = replace(
        CONFIG, max_epochs=30, epoch_windows=50, patience_steps=5, epoch_steps=2, peak_lr=0.5
    )
    uncut, wanted, _ = train(config=config)
    assert wanted.stopped_early

    # In the second of an epoch's two batches.
    cut = 2 * (wanted.best_epoch + since_best) + 1
    with pytest.raises(Killed):
        train(tmp_path / "state", windows=fragile(cut), config=config)
    network, history, snapshots = train(tmp_path / "state", config=config)

    assert snapshots.resumed_epoch == wanted.best_epoch + since_best
    assert history == wanted
    np.testing.assert_array_equal(weights(network), weights(uncut))


def test_best_weights_from_before_the_cut_are_kept(tmp_path):
    config = replace(CONFIG, max_epochs=12, peak_lr=0.5)
    uncut, wanted, _ = train(config=config)
    assert wanted.best_epoch < 11

    with pytest.raises(Killed):
        train(tmp_path / "state", windows=fragile(7 * (wanted.best_epoch + 1) + 3), config=config)
    network, history, _ = train(tmp_path / "state", config=config)

    assert history == wanted
    np.testing.assert_array_equal(weights(network), weights(uncut))


@pytest.mark.parametrize(
    "other",
    [
        {"config": replace(CONFIG, seed=4)},
        {"about": {"dataset": "b"}},
        {"windows": make_windows(90, seed=1)},
        {"val": make_windows(45, seed=2)},
    ],
    ids=["seed", "dataset", "train", "val"],
)
def test_state_of_another_training_is_not_gone_on_from(tmp_path, other):
    wanted, _, _ = train(**other)
    with pytest.raises(Killed):
        train(tmp_path / "state", windows=fragile(16))

    network, _, snapshots = train(tmp_path / "state", **other)

    assert snapshots.resumed_epoch == 0
    np.testing.assert_array_equal(weights(network), weights(wanted))


@pytest.mark.parametrize("position", [0, 3, 9, 400, -1])
def test_damaged_state_is_begun_anew(whole, tmp_path, position):
    with pytest.raises(Killed):
        train(tmp_path / "state", windows=fragile(16))
    content = bytearray((tmp_path / "state").read_bytes())
    content[position] ^= 0x41
    (tmp_path / "state").write_bytes(content)

    network, _, snapshots = train(tmp_path / "state")

    assert snapshots.resumed_epoch == 0
    np.testing.assert_array_equal(weights(network), whole[0])


def test_half_a_state_is_begun_anew(whole, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path / "state", windows=fragile(16))
    content = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(content[: len(content) // 2])

    network, _, snapshots = train(tmp_path / "state")

    assert snapshots.resumed_epoch == 0
    np.testing.assert_array_equal(weights(network), whole[0])


_CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
from cis490_pipeline_tests.training import test_snapshot as t

class Lethal(t.FragileWindows):
    def take(self, indices):
        try:
            return super().take(indices)
        except t.Killed:
            os.kill(os.getpid(), signal.SIGKILL)

windows = t.fragile(int(sys.argv[2]))
lethal = Lethal(windows.X, windows.y, windows.groups)
object.__setattr__(lethal, "left", windows.left)
network, _, snapshots = t.train(Path(sys.argv[1]), windows=lethal)
np.save(sys.argv[3], t.weights(network))
print(snapshots.resumed_epoch)
"""


@pytest.mark.long
def test_killed_process_run_again_ends_with_the_weights_of_one_never_killed(whole, tmp_path):
    def run(n_batches):
        command = [sys.executable, "-c", _CHILD, tmp_path / "state", str(n_batches)]
        root = Path(__file__).parents[2]
        return subprocess.run(
            [*command, tmp_path / "weights.npy"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run(12).returncode == -signal.SIGKILL
    assert not (tmp_path / "weights.npy").exists()
    done = run(10_000)

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "weights.npy"), whole[0])
    left = [path.name for path in tmp_path.iterdir()]
    assert sorted(left) == ["state", "weights.npy"]


def test_training_without_validation_goes_on_as_well(tmp_path):
    def last_epoch(windows=None, path=None):
        network = make_network()
        train_network(
            network,
            make_windows(seed=1) if windows is None else windows,
            None,
            CONFIG,
            sources=SOURCES,
            snapshots=path and Snapshots(path),
        )
        return weights(network)

    with pytest.raises(Killed):
        last_epoch(fragile(17), tmp_path / "state")

    np.testing.assert_array_equal(last_epoch(path=tmp_path / "state"), last_epoch())
