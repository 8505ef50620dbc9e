from pathlib import Path

import pytest

from cis490_pipeline.checkpoints.processor import processor, processor_line
from cis490_pipeline.cli.operate.doctor import EXTRAS
from cis490_pipeline.domain import Address
from cis490_pipeline_tests.cli.runs import Cli, Done


def lines(done: Done) -> dict[str, dict[str, object]]:
    return {line["what"]: line for line in done.json}


def test_sound_store_and_data_are_good(cli: Cli) -> None:
    done = cli("doctor", "--json")

    assert (done.code, [line for line in done.json if not line["ok"]]) == (0, [])


def test_the_processor_is_named_so_that_others_of_its_name_are_told_apart(cli: Cli) -> None:
    found = lines(cli("doctor", "--json"))["processors"]["found"]

    assert found.endswith(processor_line(processor()))


def test_store_is_counted(cli: Cli) -> None:
    found = lines(cli("doctor", "--json"))["store"]["found"]

    assert str(found).endswith("sample: 66 episodes of 4 hosts")


def test_artefacts_that_are_up_to_date_are_counted(cli: Cli) -> None:
    found = lines(cli("doctor", "--json"))

    assert found["corpus/grid_shards"]["found"] == "up to date"
    assert found["recipe host"]["found"] == "12 of 30 artefacts up to date"


def test_missing_store_is_a_finding_with_advice(plain: Cli) -> None:
    done = plain("doctor", "none", "--data", "data")

    assert done.code == 1
    assert "LOOK store: none is not a folder  -> set --store or CIS490_STORE" in done.out


def test_half_written_file_is_a_finding(cli_on_small_store: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".grids.npy.0a1b.tmp").write_text("half")

    done = cli_on_small_store("doctor", "--json")

    assert done.code == 1
    assert not lines(done)["half-written files of killed runs"]["ok"]


def test_indexed_episode_without_a_file_is_a_finding(
    cli_on_small_store: Cli, small_store: Path
) -> None:
    next(small_store.glob("episodes/lab-nuc/*")).unlink()

    found = lines(cli_on_small_store("doctor", "--json"))["indexed, but without a file"]

    assert (found["ok"], str(found["found"])[:2]) == (False, "1,")


def test_missing_extra_is_a_fact_not_a_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "live", ("no_such_module",))

    done = cli("doctor", "--json")

    assert done.code == 0
    assert lines(done)["extra [live]"]["found"] == "missing no_such_module"


def test_store_and_data_at_an_address_are_told_with_their_cache(
    plain: Cli, memory_place: Address, tmp_path: Path
) -> None:
    places = ("--data", f"{memory_place}/data", "--cache", str(tmp_path / "cache"))

    done = plain("doctor", f"{memory_place}/store", *places, "--json")

    found = lines(done)
    assert done.code == 1
    assert str(found["store"]["found"]).startswith(f"{memory_place}/store: no such store")
    copy = found[f"local copy of {memory_place}/data"]
    assert (copy["ok"], str(copy["found"]).startswith(str(tmp_path / "cache"))) == (True, True)


def test_simulated_store_is_written_to_this_machine_only(plain: Cli, tmp_path: Path) -> None:
    done = plain("simulate", "s3://lab/store", "--episodes", "3")

    assert done.code == 2
    assert "must be a local folder" in done.err
    assert not list(tmp_path.glob("s3*"))
