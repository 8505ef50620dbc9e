"""Training on sets that are not held in memory: the same result, and memory that stays."""

import tracemalloc

import numpy as np
import pytest

from cis490_pipeline.domain import Side, Variant
from cis490_pipeline.domain.catalogue import INPUT_KINDS
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows
from cis490_pipeline.features.datasets.opened import open_dataset
from cis490_pipeline.features.datasets.raw_windows import WindowsInFiles
from cis490_pipeline.models import registry
from cis490_pipeline.models.trees import gbt_data
from cis490_pipeline.training.snapshot import Snapshots
from cis490_pipeline_tests.features import conftest as of_features
from cis490_pipeline_tests.models.made_up import make_windows

LIMIT = "cis490_pipeline.features.datasets.window_data.IN_MEMORY_BYTES"
SHORT = {"gbt": {"max_rounds": 12}, "mlp": {"max_epochs": 2}, "gru": {"max_epochs": 1}}
SHAPE = (230,)

store, episodes, grids = of_features.store, of_features.episodes, of_features.grids
index, folders = of_features.index, of_features.folders


class OnDisk:
    """Windows made as they are asked for, as a set on disk would be."""

    def __init__(self, windows, fails_after=np.inf):
        self._windows = windows
        self.y, self.groups = windows.y, windows.groups
        self.episode_ids, self.episode_numbers = windows.episode_ids, windows.episode_numbers
        self.shape = windows.shape
        self.taken = []
        self.fails_after = fails_after

    def __len__(self):
        return len(self.y)

    def take(self, indices):
        self.taken.append(len(indices))
        if len(self.taken) > self.fails_after:
            raise OSError("the disk is gone")
        return self._windows.take(indices)

    def read_ahead(self, indices):
        pass


class Repeated(OnDisk):
    """As many windows as one likes of which few are stored."""

    def __init__(self, n, n_stored=500):
        super().__init__(make_windows(SHAPE, n_stored, shift=1.0))
        self._n_stored = n_stored
        self.y = np.resize(self.y, n)
        self.episode_numbers = np.arange(n, dtype=np.int32) // 30
        self.episode_ids = [f"episode-{i:06d}" for i in range(self.episode_numbers[-1] + 1)]

    def take(self, indices):
        return super().take(indices % self._n_stored)


def model(architecture, kind=None, **config):
    return registry.create(
        architecture, Variant.ORACLE, kind=kind, seed=3, config=SHORT[architecture] | config
    )


def assert_same(one, other):
    assert one.state().booster == other.state().booster
    assert one.state().arrays.keys() == other.state().arrays.keys()
    for name, array in one.state().arrays.items():
        assert array.tobytes() == other.state().arrays[name].tobytes(), name
    assert one.history_ == other.history_


@pytest.mark.parametrize(
    ("architecture", "kind"), [(a, kind) for a in SHORT for kind in INPUT_KINDS[a]]
)
def test_a_model_trained_from_files_is_that_of_memory_to_the_byte(
    folders, monkeypatch, architecture, kind
):
    folder = folders[kind]

    def trained():
        mode = CalibrationMode.EPISODE_BASELINE
        dataset = open_dataset(folder, kind)
        calibrator = fit_calibrator(dataset, Variant.ORACLE, mode)
        sides = [load_windows(dataset, side, calibrator) for side in (Side.TRAIN, Side.VAL)]
        return model(architecture, kind).fit(*sides), sides[0]

    from_memory, _ = trained()
    monkeypatch.setattr(LIMIT, 1000)
    from_files, train = trained()

    assert kind == "tensor" or isinstance(train._raw, WindowsInFiles)
    assert_same(from_files, from_memory)


@pytest.mark.long
def test_trees_from_pages_stop_early_where_those_of_memory_do(monkeypatch):
    train, val = make_windows(SHAPE, 1500, shift=0.8), make_windows(SHAPE, 700, seed=5, shift=0.8)
    monkeypatch.setattr(gbt_data, "READ_WINDOWS", 300)
    config = {"max_rounds": 60, "patience_rounds": 3, "eta": 0.5, "channel_dropout": 0.25}
    in_memory = model("gbt", **config).fit(train, val)
    monkeypatch.setattr(LIMIT, 1000)
    train, val = OnDisk(train), OnDisk(val)

    first, again = (model("gbt", **config).fit(train, val) for _ in range(2))

    assert in_memory.history_["stopped_early"]
    assert_same(first, again)
    assert_same(first, in_memory)
    assert max(train.taken) == 300


@pytest.mark.parametrize("fails_after", [3, np.inf])
def test_pages_are_on_disk_while_trees_grow_and_gone_afterwards(tmp_path, monkeypatch, fails_after):
    monkeypatch.setattr(LIMIT, 1000)
    monkeypatch.setattr(gbt_data, "READ_WINDOWS", 300)
    train = OnDisk(make_windows(SHAPE, 1500), fails_after)
    snapshots = Snapshots(tmp_path / "new" / ".gbt.training.safetensors")
    pages = tmp_path / "new" / ".gbt.training.pages"
    pages.mkdir(parents=True)
    (pages / "left-by-one-that-was-killed").write_bytes(b"0" * 100)
    seen = []

    def look(_):
        seen.append({path.name: path.stat().st_size for path in pages.iterdir()})

    def fit():
        model("gbt").fit(
            train, OnDisk(make_windows(SHAPE, 400)), progress=look, snapshots=snapshots
        )

    if fails_after == np.inf:
        fit()
        # One byte for each value of each window, of both sides.
        assert sum(seen[0].values()) >= (1500 + 400) * 230
        assert not any(name.startswith("left") for name in seen[0])
    else:
        with pytest.raises(OSError, match="the disk is gone"):
            fit()
    assert not list(snapshots.path.parent.iterdir())


def test_trees_that_fit_into_memory_write_no_pages(monkeypatch):
    monkeypatch.setattr(gbt_data, "pages_folder", None)
    monkeypatch.setattr("cis490_pipeline.models.trees.gbt.pages_folder", None)

    fitted = model("gbt").fit(OnDisk(make_windows(SHAPE, 200)), OnDisk(make_windows(SHAPE, 50)))

    assert fitted.is_fitted


@pytest.mark.long
def test_a_network_holds_one_batch_of_a_set_that_is_not_held(monkeypatch):
    monkeypatch.setattr(LIMIT, 1000)
    # A bound of its own, whatever the set: the windows that its scale is learnt from.
    monkeypatch.setattr("cis490_pipeline.models.nets.mlp.SCALE_WINDOWS", 64)
    # The first training imports what all others use.
    model("mlp").fit(Repeated(100), Repeated(60))
    peaks = {}
    for n in (4_000, 16_000):
        train, val = Repeated(n), Repeated(600)
        tracemalloc.start()
        model("mlp", max_epochs=1, batch_size=64).fit(train, val)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert max(train.taken) == 64

    # A window is 920 bytes; its place in the epoch's order is what grows.
    assert (peaks[16_000] - peaks[4_000]) / 12_000 < 80


@pytest.mark.long
def test_trees_are_handed_one_piece_at_a_time_of_a_set_that_is_not_held(monkeypatch):
    monkeypatch.setattr(LIMIT, 1000)
    monkeypatch.setattr(gbt_data, "READ_WINDOWS", 500)
    model("gbt").fit(Repeated(100), Repeated(60))
    peaks = {}
    for n in (4_000, 16_000):
        train, val = Repeated(n), Repeated(600)
        tracemalloc.start()
        model("gbt", max_rounds=2).fit(train, val)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert max(train.taken) == 500

    # Python's share: five margins a window, handed to the metric of each round.
    assert (peaks[16_000] - peaks[4_000]) / 12_000 < 80
