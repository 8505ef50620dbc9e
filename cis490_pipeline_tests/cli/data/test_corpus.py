from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import SAMPLE, SIX, arrays_in, copy_store, flip_a_byte

EPISODE = f"{SIX[0].host_id}/{SIX[0].episode_id}"


def test_validate_counts_the_sample(cli: Cli) -> None:
    assert cli("validate", "--json").json["counts"] == {
        "accepted": 62,
        "degraded": 2,
        "rejected": 2,
        "errored": 0,
    }


def test_validate_counts_reasons(cli: Cli) -> None:
    assert cli("validate", "--json").json["reasons"] == {
        "label_failed": 1,
        "label_unjustified": 1,
        "missing_member": 1,
        "source_short": 1,
        "unfinished": 1,
    }


def test_validate_exits_1_if_an_episode_is_rejected(cli: Cli) -> None:
    assert cli("validate", "--json").code == 1


def test_validate_exits_0_if_none_is(cli_on_small_store: Cli) -> None:
    assert cli_on_small_store("validate", "--json").code == 0


def test_validate_again_reads_no_archive(cli_on_small_store: Cli) -> None:
    read = [cli_on_small_store("validate", "--json").json["archives_read"] for _ in range(2)]

    assert read == [6, 0]


def test_validate_refuses_a_store_that_lost_episodes_unless_told_that_they_are_gone(
    cli_on_small_store: Cli, small_store: Path
) -> None:
    before = cli_on_small_store("validate", "--json").json
    LocalStore(small_store).archive_path(SIX[0]).unlink()

    refused = cli_on_small_store("validate", "--json")
    accepted = cli_on_small_store("validate", "--json", "--accept-loss")
    shown = cli_on_small_store("validate")

    assert refused.code == 2
    assert f"1 of 6 episodes known are not there, first {EPISODE}: " in refused.err
    assert (accepted.code, accepted.json["vanished"]) == (0, [EPISODE])
    assert accepted.json["counts"] == before["counts"]
    assert shown.code == 0
    assert f"warning: not in the store any more, the first since " in shown.err
    assert EPISODE in shown.err


def test_gc_names_the_vanished_episodes_that_it_forgets(
    cli_on_small_store: Cli, small_store: Path
) -> None:
    cli_on_small_store("validate")
    LocalStore(small_store).archive_path(SIX[0]).unlink()
    cli_on_small_store("validate", "--accept-loss")

    done = cli_on_small_store("gc")

    assert f"vanished  {EPISODE}  (verdict and grid)" in done.out
    assert cli_on_small_store("validate", "--json").json["counts"]["accepted"] == 5


def test_validate_exits_1_after_a_byte_was_flipped_and_keeps_the_others(
    cli_on_small_store: Cli, small_store: Path
) -> None:
    flip_a_byte(LocalStore(small_store).archive_path(SIX[0]))

    done = cli_on_small_store("validate", "--json")

    assert done.code == 1
    assert done.json["counts"] == {"accepted": 5, "degraded": 0, "rejected": 1, "errored": 0}
    assert done.json["reasons"] == {"sha256_mismatch": 1}


def test_validate_shows_a_person_which_episode_and_why(cli: Cli) -> None:
    out = cli("validate").out

    assert "rejected  lab-nuc/01M819VPN8Y0F8YKF0RHD4310Y  label_failed" in out


def test_validate_takes_the_store_as_an_argument(small_store: Path, plain: Cli) -> None:
    done = plain("validate", str(small_store), "--data", "data", "--workers", "1", "--json")

    assert done.json["n_episodes"] == 6


@pytest.mark.parametrize("arguments", [["none"], ["--store", "none"]], ids=["argument", "flag"])
def test_validate_of_a_missing_store_is_one_clear_line(plain: Cli, arguments: list[str]) -> None:
    done = plain("validate", *arguments, "--data", "data")

    assert done.code == 2
    assert done.err == (
        "StoreError: none: no such store; set CIS490_STORE or --store to a folder with "
        "index.jsonl and episodes/\n"
    )


def test_validate_exports_the_golden_file(cli: Cli) -> None:
    cli("validate", "--export", "verdicts.parquet")

    assert_frame_equal(
        pl.read_parquet("verdicts.parquet"),
        pl.read_parquet(SAMPLE.parent / "sample.validation.parquet"),
    )


def test_validate_names_rows_and_folders_that_are_not_of_the_format(
    cli_on_small_store: Cli, small_store: Path
) -> None:
    with (small_store / "index.jsonl").open("a") as index:
        index.write("not JSON\n")

    (small_store / "episodes" / "müller-pi").mkdir()

    done = cli_on_small_store("validate", "--json")
    again = cli_on_small_store("validate", "--json")

    assert (done.code, again.code) == (1, 1)
    assert done.json["skipped_index_rows"] == done.json["left_out_entries"] == 1
    assert [text.split(":")[0] for text in done.json["left_out"]] == [
        "index.jsonl line 7",
        "episodes/müller-pi",
    ]
    assert again.json["left_out"] == done.json["left_out"]


def test_store_that_is_not_mounted_is_refused_and_its_verdicts_stay(
    cli_on_small_store: Cli, small_store: Path
) -> None:
    path = Path(cli_on_small_store("validate", "--json").json["path"])
    before = path.read_bytes()
    for part in list(small_store.iterdir()):
        part.rename(small_store.with_name(f"away-{part.name}"))

    done = cli_on_small_store("validate")

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no episode is there; is it mounted?" in done.err
    assert path.read_bytes() == before


def test_extract_of_an_episode_gives_the_datasets_windows(cli: Cli, finished: Workspace) -> None:
    cli("extract", EPISODE, "--out", "one.npz")
    found = arrays_in(Path("one.npz"))
    files = sorted(FeatureShards(finished, Recipe.HOST).folder.glob("*.parquet"))
    stored = pl.read_parquet(files).filter(episode_id=SIX[0].episode_id).sort("window_idx")

    np.testing.assert_array_equal(
        found["summary"], stored.select(found["summary_names"].tolist()).to_numpy()
    )


def test_extract_last_gives_one_window(cli: Cli) -> None:
    result = cli("extract", EPISODE, "--last", "--variant", "oracle", "--json").json

    assert result["tensors"] == [46, 100]
    assert Path(result["path"]).is_file()


@pytest.mark.parametrize("name", ["lab-nuc/none", "lab-nuc/", "none"])
def test_extract_of_an_unknown_episode_is_one_clear_line(cli: Cli, name: str) -> None:
    done = cli("extract", name)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"no episode {name!r}; name one as HOST/EPISODE_ID" in done.err


def test_extract_of_a_rejected_episode_is_refused(cli: Cli) -> None:
    done = cli("extract", "lab-nuc/01M819VPN8Y0F8YKF0RHD4310Y")

    assert done.code == 2
    assert "label_failed" in done.err


@pytest.mark.parametrize("flags", [["--last"], ["--out", "x.npz"]])
def test_extract_of_a_split_refuses_the_flags_of_an_episode(cli: Cli, flags: list[str]) -> None:
    done = cli("extract", *flags)

    assert done.code == 2
    assert "--last and --out need an EPISODE" in done.err


def test_extract_of_a_finished_split_makes_nothing(cli: Cli) -> None:
    result = cli("extract", "--split", "host", "--json").json

    assert {stage["why"] for stage in result.values()} == {"up to date"}


def test_split_shows_sides_and_what_was_never_tested(cli: Cli) -> None:
    summary = cli("split", "--split", "host", "--json").json

    assert summary["recipe"] == "host"
    assert summary["untested_profiles"] == {
        "k-gamingcom": ["scan-and-dial"],
        "lab-nuc": ["exfil-burst"],
    }


def test_split_is_readable(cli: Cli) -> None:
    done = cli("split")

    assert (done.code, done.out.splitlines()[0]) == (0, "recipe: host")


@pytest.mark.parametrize("name", ["[lab]", "a?b*", "50% #1", "~", "a\nb", "[red]:smile:"])
def test_a_data_folder_may_be_called_anything(name: str, small_store: Path, plain: Cli) -> None:
    place = ("--store", str(small_store), "--data", f"{Path.cwd()}/{name}", "--workers", "1")
    validated, again = plain("validate", *place), plain("validate", "--json", *place)

    assert (validated.code, again.code) == (0, 0)
    assert again.json["archives_read"] == 0
    assert f"verdicts are in {Path.cwd()}/{name}/processed/validation_v1.parquet" in validated.err


def test_a_data_folder_named_like_a_pattern_is_not_the_one_it_matches(
    small_store: Path, tmp_path: Path, plain: Cli
) -> None:
    plain("validate", "--data", "exp1", "--store", str(small_store))
    other = copy_store(tmp_path / "other", SIX[:2]).root
    counted = plain("validate", "--data", "exp[1]", "--store", str(other), "--json")

    assert counted.json["counts"]["accepted"] == 2
