"""A check that fails ends every command that makes something from its artefact, each time."""

from pathlib import Path

import polars as pl
import pytest

from cis490_pipeline.domain import EpisodeRef, Recipe
from cis490_pipeline.errors import GateError
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.orchestration.runtime.materialize import materialize_recipe
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import SAMPLE, THINKPAD, copy_store

PROFILE = "cpu-saturate"
FAILED = (
    "dataset/validation_index: check profiles_are_stratified failed: "
    f"{PROFILE} is tested but never trained on"
)
COMMANDS = (
    ("run", "--no-dagster"),
    ("run", "--dagster"),
    ("backfill", "--no-dagster"),
    ("backfill", "--dagster", "--json"),
    ("extract",),
    ("split",),
    ("train", "--force", "--json"),
    ("tune", "gbt", "realistic"),
    ("evaluate",),
    ("report",),
    ("study", "--only", "drift"),
    ("calibrate", "--host", "garage-pi"),
    ("demo", "--once", "--no-browser"),
)


def episodes(profiles: pl.Expr, host: str, n: int) -> list[EpisodeRef]:
    verdicts = pl.read_parquet(SAMPLE.parent / "sample.validation.parquet")
    chosen = verdicts.filter(pl.col("status") == "accepted", pl.col("host_id") == host, profiles)
    return [EpisodeRef(host, name) for name in chosen["episode_id"].sort().head(n)]


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A store and a data folder in which a profile is tested that was never trained on."""
    folder = tmp_path_factory.mktemp("gates")
    other = (pl.col("profile") != PROFILE) | pl.col("profile").is_null()
    refs = [
        *episodes(other, THINKPAD, 24),
        *episodes(pl.col("profile") == PROFILE, "lab-nuc", 2),
    ]
    store = copy_store(folder / "store", refs).root
    return ["--store", str(store), "--data", str(folder / "data"), "--workers", "1"]


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_failed_check_ends_each_command_with_2_as_often_as_it_is_called(
    flags: list[str], plain: Cli, command: tuple[str, ...]
) -> None:
    # Makes the index, whatever the command tested is.
    plain("split", *flags)

    for _ in range(2):
        done = plain(*command, *flags)
        assert done.code == 2
        assert f"GateError: {FAILED}\n" in done.err
    data = Path(flags[3])
    assert not list((data / "processed" / "host").glob("*_window_v1"))


def test_a_split_whose_check_fails_is_still_shown(flags: list[str], plain: Cli) -> None:
    done = plain("split", "--json", *flags)

    assert done.code == 2
    assert done.json["recipe"] == "host"


def test_a_gate_of_the_split_is_asked_when_everything_is_up_to_date(
    copied: Workspace, monkeypatch: pytest.MonkeyPatch, cli_on_copy: Cli
) -> None:
    index = ValidationIndex(copied, Recipe.HOST)
    frame = pl.read_parquet(copied.paths.validation_index(Recipe.HOST))
    trained = (pl.col("profile") == PROFILE) & (pl.col("side") == "train")
    spoilt = frame.with_columns(
        side=pl.when(trained).then(pl.lit("excluded")).otherwise("side").cast(frame["side"].dtype)
    )
    spoilt.write_parquet(copied.paths.validation_index(Recipe.HOST))
    record = index.record_path.read_bytes().decode()
    name = copied.paths.validation_index(Recipe.HOST).relative_to(copied.paths.root).as_posix()
    before = index.record()
    assert before is not None
    size = copied.paths.validation_index(Recipe.HOST).stat().st_size
    record = record.replace(f'"{name}": {before.files[name]}', f'"{name}": {size}')
    index.record_path.write_text(record)
    assert index.outdated() is None

    done = cli_on_copy("backfill", "--no-dagster", "--split", "host")
    listed = cli_on_copy("backfill", "--dry-run", "--split", "host")

    assert (done.code, listed.code) == (2, 0)
    assert "everything up to date" in listed.out
    assert f"GateError: {FAILED}" in done.err
    with pytest.raises(GateError, match=FAILED):
        materialize_recipe(copied, Recipe.HOST, only=())
