"""``cis490 study``, with trees that are quick to grow."""

import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.cli.runs import Cli


@pytest.fixture(autouse=True)
def few_rounds(tmp_path, only_flags_count):
    (tmp_path / "cis490.toml").write_text("[models.gbt]\nmax_rounds = 3\n")


def test_one_part_is_printed_with_counts_and_the_others_as_not_run(
    cli_on_copy: Cli, copied: Workspace
) -> None:
    told = cli_on_copy("study", "--only", "time", "--only", "drift").out

    found = read_json(copied.paths.study(Recipe.HOST))
    section = found["models"]["gbt_realistic"]["time"]
    area = f"{section['aut']:.3f} [{section['ci_low']:.3f}, {section['ci_high']:.3f}]"
    assert f"gbt_realistic, split host: area under time {area}" in told
    for slot in section["slots"]:
        assert f"{slot['macro_f1']:.3f} [" in told
    assert "gbt_realistic, split host: profiles not run" in told
    assert "gbt_realistic, split host: hosts not run" in told
    assert "population stability index is over 0.25" in told
    assert "(1 trained, 0 kept" in told


@pytest.mark.long
def test_profiles_and_hosts_are_printed(cli_on_copy: Cli) -> None:
    told = cli_on_copy("study", "--only", "profiles", "--only", "hosts").out

    assert "trained without the profile" in told
    assert told.count("test side") == 6
    assert told.count("n = 32") == 4
    assert "drift: not run" in told
    assert "host_out: not run" in told


def test_drift_alone_trains_nothing(cli_on_copy: Cli, copied: Workspace) -> None:
    found = cli_on_copy("study", "--only", "drift", "--json").json

    assert found == read_json(copied.paths.study(Recipe.HOST))
    assert len(found["drift"]["rows"]) == 368
    assert not copied.paths.studies.exists()


def test_a_second_time_it_is_up_to_date(cli_on_copy: Cli) -> None:
    cli_on_copy("study", "--only", "drift")

    assert "(up to date, " in cli_on_copy("study", "--only", "drift").out
