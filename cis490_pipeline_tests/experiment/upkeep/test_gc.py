import subprocess
import sys

import numpy as np
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import DatasetError
from cis490_pipeline.experiment.pipeline.corpus import GridShards, corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import dataset_stages
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.upkeep.gc import collect_garbage
from cis490_pipeline.experiment.upkeep.warnings import no_vanished
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.storage.scope_lock import lock_of
from cis490_pipeline_tests.experiment.runs import SIX, copy_store
from cis490_pipeline_tests.orchestration.making import SAMPLE


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workspace = workspace_in(tmp_path_factory.mktemp("gc") / "data")
    for stage in (*corpus_stages(workspace), *dataset_stages(workspace, Recipe.HOST)):
        stage.ensure()
    return workspace


def workspace_in(data):
    return Workspace(Settings(store=SAMPLE, data=data, workers=1))


@pytest.fixture
def workspace(made, tmp_path):
    subprocess.run(["cp", "-a", made.paths.root, tmp_path / "data"], check=True)
    return workspace_in(tmp_path / "data")


GARBAGE = {
    "processed/grids/0123456789abcdef/shard-00000-0123456789ab.npy",
    "processed/grids/0123456789abcdef/index.parquet",
    "processed/grids/0123456789abcdef/manifest.json",
    "processed/host/features_window_v1/train-00009-0123456789ab.parquet",
    "processed/host/.validation_index.parquet.0123456789ab.tmp",
    "artifacts/host/.gru_oracle.training.safetensors",
}
SOMEBODYS = {
    "processed/calibrations/garage-pi.json",
    "processed/time/split_v1.json",
    "artifacts/host/gbt_oracle/checkpoint.json",
    "artifacts/host/.lstm_oracle.training.safetensors",
    "reports/host/notes.html",
    "processed/grids/0123456789abcdef/notes.txt",
    "dagster/.run.db.0123456789ab.tmp",
    "my/shard-00000-0123456789ab.npy",
}


def plant(root):
    for name in (*sorted(SOMEBODYS), *sorted(GARBAGE)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 100)
    # Its training ended: the checkpoint is newer than the state it was resumed from.
    (root / "artifacts/host/gru_oracle").mkdir()
    (root / "artifacts/host/gru_oracle/checkpoint.json").write_bytes(b"{}")


def files_of(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_of_a_finished_data_folder_nothing_goes(workspace):
    before = files_of(workspace.paths.root)

    assert collect_garbage(workspace).garbage == []
    assert files_of(workspace.paths.root) - before <= {
        f"processed/records/{recipe}.lock" for recipe in Recipe
    }


def test_what_nothing_names_goes_and_what_is_somebodys_stays(workspace):
    root = workspace.paths.root
    plant(root)
    before = files_of(root)

    found = collect_garbage(workspace)

    assert {item.path for item in found.garbage} == GARBAGE
    assert found.n_bytes == 100 * len(GARBAGE)
    assert before - files_of(root) == GARBAGE
    assert all(
        stage.outdated() is None
        for stage in (*corpus_stages(workspace), *dataset_stages(workspace, Recipe.HOST))
    )


def test_a_dry_run_lists_the_same_and_removes_nothing(workspace):
    plant(workspace.paths.root)
    before = files_of(workspace.paths.root)

    listed = collect_garbage(workspace, dry_run=True)

    assert before <= files_of(workspace.paths.root)
    assert listed.garbage == collect_garbage(workspace).garbage


def test_an_older_shard_of_a_grown_one_goes(workspace):
    folder = GridShards(workspace).folder
    np.save(folder / "shard-00000-0123456789ab.npy", np.zeros((1, 46), np.float32))

    assert [item.path.split("/")[-1] for item in collect_garbage(workspace).garbage] == [
        "shard-00000-0123456789ab.npy"
    ]


def test_grids_that_a_datasets_manifest_names_stay_though_the_record_is_of_others(workspace):
    # As after a schema change, when the corpus was made again and this split was not yet.
    (workspace.paths.root / "processed/records/corpus/corpus__grid_shards.json").unlink()
    folder = GridShards(workspace).folder
    moved = folder.with_name("0123456789abcdef")
    folder.rename(moved)
    dataset = workspace.paths.tensor_dir("host") / "manifest.json"
    dataset.write_text(dataset.read_text().replace(folder.name, moved.name))

    collect_garbage(workspace)

    assert {path.suffix for path in moved.iterdir()} == {".npy", ".parquet", ".json"}


HOLD = """
import sys, pathlib
from cis490_pipeline.storage.scope_lock import lock_of
with lock_of(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def in_another_process():
    started = []

    def start(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"

    yield start
    for process in started:
        process.communicate()


@pytest.mark.parametrize(
    ("scope", "kept"),
    [
        ("host", GARBAGE),
        ("host_study", GARBAGE),
        ("time", {name for name in GARBAGE if name.startswith("processed/grids/")}),
        ("corpus", GARBAGE),
    ],
)
def test_what_somebody_at_work_may_use_is_spared_and_told(
    workspace, in_another_process, scope, kept
):
    plant(workspace.paths.root)
    records = workspace.paths.root / "processed" / "records"
    in_another_process(HOLD, records / scope)

    found = collect_garbage(workspace)

    assert set(found.spared) == kept
    assert {item.path for item in found.garbage} == GARBAGE - kept
    assert f"the lock of {scope} is held" in found.spared.values()
    assert kept <= files_of(workspace.paths.root)


def test_a_file_that_a_process_has_open_is_spared(workspace, in_another_process):
    plant(workspace.paths.root)
    opened = workspace.paths.root / min(GARBAGE)
    in_another_process(
        "import sys\nfile = open(sys.argv[1])\nprint('held', flush=True)\nsys.stdin.read()", opened
    )

    assert collect_garbage(workspace).spared == {min(GARBAGE): "a running process has it open"}


def test_links_that_lead_out_of_the_data_folder_are_left(workspace, tmp_path):
    outside = tmp_path / "outside" / "features_window_v1"
    outside.mkdir(parents=True)
    (outside / "train-00009-0123456789ab.parquet").write_bytes(b"x")
    (workspace.paths.root / "processed" / "linked").symlink_to(outside.parent)

    assert collect_garbage(workspace).garbage == []
    assert len(list(outside.iterdir())) == 1


def test_a_damaged_record_stops_everything(workspace):
    plant(workspace.paths.root)
    path = workspace.paths.root / "processed/records/host/dataset__tensor_shards.json"
    path.write_text("{")

    with pytest.raises(DatasetError, match="so its files are unknown and nothing was removed"):
        collect_garbage(workspace)
    assert files_of(workspace.paths.root) >= GARBAGE


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="is no data folder; set --data"):
        collect_garbage(workspace_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_locks_are_free_again_afterwards(workspace):
    collect_garbage(workspace)

    with lock_of(workspace.paths.root / "processed/records/corpus").acquire(timeout=0):
        pass


@pytest.fixture
def with_one_away(tmp_path):
    """Verdicts and grids of six episodes, of which one has vanished since."""
    store = copy_store(tmp_path / "store")
    settings = Settings(store=store.root, data=tmp_path / "data", workers=1)
    for stage in corpus_stages(Workspace(settings)):
        stage.ensure()
    store.archive_path(SIX[1]).unlink()
    workspace = Workspace(settings, accept_loss=True)
    for stage in corpus_stages(workspace):
        stage.ensure()
    return workspace


def grids_of(workspace):
    store = GridStore(GridShards(workspace).folder)
    return {name: store.grid(name).tobytes() for name in store.frame["episode_id"]}


def test_verdict_and_grid_of_a_vanished_episode_stay_until_collected(with_one_away):
    digest, grids = GridShards(with_one_away).record().digest, grids_of(with_one_away)
    name = f"{SIX[1].host_id}/{SIX[1].episode_id}"
    assert grids.keys() == {ref.episode_id for ref in SIX}
    assert no_vanished(with_one_away).text.startswith("not in the store any more, the first since")
    assert f": {name}; " in no_vanished(with_one_away).text

    assert collect_garbage(with_one_away, dry_run=True).forgotten == [name]
    assert grids_of(with_one_away) == grids

    found = collect_garbage(with_one_away)

    assert found.forgotten == [name]
    del grids[SIX[1].episode_id]
    assert grids_of(with_one_away) == grids
    assert no_vanished(with_one_away).passed
    assert SIX[1].episode_id not in set(read_table(with_one_away.paths.validation)["episode_id"])
    assert GridShards(with_one_away).record().digest != digest
    for stage in corpus_stages(with_one_away):
        assert stage.outdated() is None
    # No row of its telemetry is left in any shard that grids name.
    store = GridStore(GridShards(with_one_away).folder)
    assert [len(store.shard(shard)) for shard in store.shard_sha256] == [
        store.frame["n_steps"].sum()
    ]
    assert collect_garbage(with_one_away).forgotten == []


def test_an_episode_that_comes_back_after_collection_has_its_verdict_and_grid_again(with_one_away):
    before = [stage.record().digest for stage in corpus_stages(with_one_away)]
    collect_garbage(with_one_away)
    copy_store(with_one_away.store.root, [SIX[1]])

    for stage in corpus_stages(with_one_away):
        stage.ensure()

    assert [stage.record().digest for stage in corpus_stages(with_one_away)] == before


def test_vanished_episodes_stay_while_a_recipe_is_made(with_one_away):
    holder = (
        "import sys;from filelock import FileLock;lock = FileLock(sys.argv[1]);lock.acquire();"
        "print('held', flush=True);sys.stdin.read()"
    )
    lock = with_one_away.paths.records("host").with_name("host.lock")
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        found = collect_garbage(with_one_away)
        other.stdin.close()

    assert found.forgotten == []
    assert found.spared["processed/validation_v1.parquet"] == (
        "the lock of host is held: vanished episodes stay in it"
    )
    assert not no_vanished(with_one_away).passed
