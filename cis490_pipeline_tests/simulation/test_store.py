import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from cis490_pipeline.cli.main import cis490
from cis490_pipeline.compute import ProcessCompute, SerialCompute
from cis490_pipeline.errors import ConfigError, StoreError
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.simulation.parameters import SIMULATOR_DIGEST
from cis490_pipeline.simulation.store import SimulationConfig, simulate_store
from cis490_pipeline.store.archive import unpack as archive
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.eligibility import usable_expr
from cis490_pipeline.store.verdicts.sweep import SweepResult, sweep, verdict_counts

SMALL = SimulationConfig(episodes=24, seed=5, hosts=("sim-one", "sim-two"), faults=0.25)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("simulated") / "store"
    simulate_store(root, SimulationConfig(episodes=240, seed=3, faults=0.6), SerialCompute())
    return root


@pytest.fixture(scope="module")
def swept(faulty: Path) -> SweepResult:
    return sweep(LocalStore(faulty), None, SerialCompute())


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def json_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_episode_gets_exactly_the_verdict_that_is_true_of_it(
    faulty: Path, swept: SweepResult
) -> None:
    truth = {
        (row["host_id"], row["episode_id"]): (row["status"], row["reasons"])
        for row in json_lines(faulty / "truth.jsonl")
    }

    assert {
        (row["host_id"], row["episode_id"]): (row["status"], row["reasons"])
        for row in swept.frame.iter_rows(named=True)
    } == truth


def test_every_reason_code_is_injected_and_counted(faulty: Path, swept: SweepResult) -> None:
    origin = json.loads((faulty / "simulation.json").read_text())
    found = verdict_counts(swept.frame)

    assert found["reasons"] == origin["reasons"]
    assert {k: n for k, n in found["counts"].items() if n} == origin["counts"]
    assert set(origin["reasons"]) == {str(reason) for reason in Reason}
    assert sum(origin["reasons"].values()) == 144


def test_no_field_of_a_row_is_unknown(swept: SweepResult) -> None:
    assert not swept.frame["unknown_fields"].list.len().sum()


def test_usable_episodes_can_be_gridded_and_begin_clean(
    faulty: Path, swept: SweepResult, tmp_path: Path
) -> None:
    usable = swept.frame.filter(usable_expr()).head(30)

    grids = build_grids(LocalStore(faulty), usable, tmp_path, SerialCompute())

    assert not grids.failed
    assert grids.frame["baseline_clean"].all()


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    simulate_store(tmp_path / "serial", SMALL, SerialCompute())
    simulate_store(tmp_path / "pool", SMALL, ProcessCompute(2))

    assert files_of(tmp_path / "serial") == files_of(tmp_path / "pool")


def test_a_longer_store_begins_with_the_same_episodes(tmp_path: Path) -> None:
    short = SimulationConfig(episodes=4, seed=5)
    simulate_store(tmp_path / "short", short, SerialCompute())
    simulate_store(tmp_path / "long", SimulationConfig(episodes=8, seed=5), SerialCompute())

    begun = files_of(tmp_path / "short" / "episodes").items()

    assert begun <= files_of(tmp_path / "long" / "episodes").items()


def test_another_seed_gives_other_episodes(tmp_path: Path) -> None:
    for seed in (1, 2):
        config = SimulationConfig(episodes=2, seed=seed)
        simulate_store(tmp_path / str(seed), config, SerialCompute())

    first, second = (files_of(tmp_path / str(seed) / "episodes") for seed in (1, 2))

    assert first.keys().isdisjoint(second)


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(StoreError, match="is not empty"):
        simulate_store(tmp_path, SMALL, SerialCompute())

    assert files_of(tmp_path) == {"mine.txt": b"mine"}


def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    def stop(*at: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_store(tmp_path / "store", SMALL, SerialCompute(), stop)

    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_does_not_get_into_the_store(tmp_path: Path) -> None:
    left = tmp_path / ".store.simulating.tmp" / "episodes" / "gone"
    left.mkdir(parents=True)

    simulate_store(tmp_path / "store", SMALL, SerialCompute())

    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert not (tmp_path / "store" / "episodes" / "gone").exists()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"faults": float("nan")}, "faults must be a share from 0 to 1, got nan"),
        ({"hosts": ("Ä",)}, "hosts must be names like"),
        ({"hosts": ()}, "got none"),
        ({"hosts": ("a", "a")}, "hosts must differ, got a, a"),
    ],
)
def test_a_senseless_config_is_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        SimulationConfig(**{"episodes": 1, **settings})  # type: ignore[arg-type]


def test_everything_says_that_it_is_simulated(tmp_path: Path) -> None:
    simulate_store(tmp_path / "store", SimulationConfig(episodes=8), SerialCompute())

    for path in (tmp_path / "store").rglob("*.tar.zst"):
        contents = archive.read_members(path)
        meta = json.loads(contents[archive.META])
        labels = [json.loads(line) for line in contents[archive.LABELS].splitlines()]
        events = [json.loads(line) for line in contents[archive.EVENTS].splitlines()]
        assert meta["vm"]["image_name"] == "simulated"
        assert meta["git_commit"] == f"simulator-{SIMULATOR_DIGEST[:16]}"
        assert meta["simulator"]["digest"] == SIMULATOR_DIGEST
        assert meta["sample"] is None or meta["sample"]["kind"] == "synth"
        assert all(label["reason"].startswith("simulated: ") for label in labels)
        assert all(event["simulated"] for event in events)
    origin = json.loads((tmp_path / "store" / "simulation.json").read_text())
    assert origin["simulated"]
    assert origin["simulator_digest"] == SIMULATOR_DIGEST
    index = json_lines(tmp_path / "store" / "index.jsonl")
    assert {row["commit"] for row in index} == {f"simulator-{SIMULATOR_DIGEST[:16]}"}


def test_the_command_prints_what_validate_must_find(tmp_path: Path) -> None:
    arguments = ["simulate", str(tmp_path / "store"), "--episodes", "6", "--workers", "1"]

    done = CliRunner().invoke(cis490, [*arguments, "--hosts", "a, b", "--faults", "0.5", "--json"])

    printed = json.loads(done.stdout)
    assert sum(printed["counts"].values()) == 6
    assert printed["hosts"] == ["a", "b"]
    found = sweep(LocalStore(tmp_path / "store"), None, SerialCompute()).frame
    assert found.filter(pl.col("reasons").list.len() > 0).height == 3
