"""What is kept of the run that the documentation quotes, and of the emulated processors."""

import json

import pytest

from benchmarks import documented_run, processors
from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.stored import checked_form
from docs.make_reference.results import result


@pytest.fixture
def commands(monkeypatch):
    ran = []
    monkeypatch.setattr(
        documented_run.subprocess, "run", lambda command, **of: ran.append((command, of))
    )
    return ran


def test_it_runs_with_default_settings_whatever_the_environment_sets(
    commands, monkeypatch, tmp_path
):
    monkeypatch.setenv("CIS490_SEED", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    documented_run._run(tmp_path)

    ((command, of),) = commands
    assert command[1:] == ["-m", "cis490_pipeline", "run", "--split", "host", "--data", tmp_path]
    assert "CIS490_SEED" not in of["env"]
    assert of["env"]["OMP_NUM_THREADS"] == "1"


def test_time_and_memory_of_a_run_that_made_a_part_only_are_not_kept(commands, tmp_path):
    whole = documented_run._run(tmp_path)
    (tmp_path / "reports").mkdir()

    assert documented_run._run(tmp_path) == {"seconds": None, "peak_memory_mb": None}
    assert whole["seconds"] is not None
    assert whole["peak_memory_mb"] is not None


def test_nothing_is_written_of_a_checkout_whose_files_differ(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(documented_run, "commit", lambda: "0" * 40 + "+dirty")

    assert documented_run.main(["--out", str(tmp_path / "run.json")]) == 2
    assert not (tmp_path / "run.json").exists()
    assert "commit them first" in capsys.readouterr().out


def test_the_committed_board_has_the_form_of_a_leaderboard():
    checked_form(result("run")["board"], Leaderboard, "run.json")


def test_every_row_of_the_committed_board_has_its_report():
    run = result("run")

    assert list(run["reports"]) == sorted(row["model"] for row in run["board"]["rows"])
    for row in run["board"]["rows"]:
        assert run["reports"][row["model"]]["macro_f1"] == row["macro_f1"]


def test_every_emulation_has_the_models_of_the_one_without_a_switch():
    runs = result("processors")["runs"]

    assert set(runs) <= set(processors.EMULATIONS)
    for name, run in runs.items():
        assert run["switches"] == processors.EMULATIONS[name]
        assert run["models"].keys() == runs[processors.AS_IT_IS]["models"].keys()


def test_emulations_that_are_kept_are_not_run_again(monkeypatch, tmp_path):
    ran = []
    models = {"mlp_oracle": {"checkpoint": "a", "macro_f1": 0.5, "val_macro_f1": 0.5}}

    def run(switches):
        ran.append(dict(switches))
        return {"computed_on": {}, "dataset": "d", "models": models}

    monkeypatch.setattr(processors, "_run", run)
    out = tmp_path / "processors.json"
    processors.main(["--out", str(out)])
    made = json.loads(out.read_text())
    del made["runs"]["torch without AVX2"]
    out.write_text(json.dumps(made))
    ran.clear()

    processors.main(["--out", str(out)])

    assert ran == [{"ATEN_CPU_CAPABILITY": "default"}]
    assert set(json.loads(out.read_text())["runs"]) == set(processors.EMULATIONS)
