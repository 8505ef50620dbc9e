from pathlib import Path

import numpy as np
import pytest

from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.onnx.session import OnnxClassifier
from cis490_pipeline.checkpoints.processor import processor
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.models.export import onnx
from cis490_pipeline.models.registry import restore
from cis490_pipeline.storage.files import read_json
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import flip_a_byte


def test_inspect_names_the_processor_that_a_checkpoint_was_trained_on(
    plain: Cli, finished: Workspace
) -> None:
    folder = str(finished.paths.checkpoint("host", "mlp_realistic"))

    told = plain("inspect", folder, "--json").json["computed_on"]

    assert {"name", "instructions", "torch", "onednn", "numpy", "openblas"} <= told.keys()
    assert told.items() >= processor().items()
    assert f"computed_on: {told}" in plain("inspect", folder).out


def test_reports_and_board_name_the_processor_they_were_computed_on(finished: Workspace) -> None:
    board = read_json(finished.paths.leaderboard("host"))
    made_from = read_json(finished.paths.made_from("host"))

    assert board["processor"] == made_from["provenance"]["processor"] == processor()
    for row in board["rows"]:
        report = read_json(finished.paths.report_json("host", row["model"]))
        assert report["processor"] == processor()


def test_the_page_shows_the_processor(finished: Workspace) -> None:
    page = finished.paths.report_html("host").read_text(encoding="utf-8")

    assert f"name {processor()['name']}" in page
    assert "models trained on" in page


@pytest.mark.parametrize("name", ["gbt_realistic", "mlp_oracle"])
def test_export_says_what_the_checkpoint_says(
    plain: Cli, finished: Workspace, tmp_path: Path, name: str
) -> None:
    folder = finished.paths.checkpoint("host", name)
    out = tmp_path / "made" / "model.onnx"

    told = plain("export", str(folder), "--out", str(out), "--json").json

    checkpoint = load_checkpoint(folder, None)
    golden = checkpoint.golden
    said = OnnxClassifier(out.read_bytes()).predict_proba(golden.inputs)
    np.testing.assert_allclose(said, golden.probabilities, atol=1e-5)
    assert told["checkpoint_digest"] == checkpoint.digest
    assert set(told["differences"]) == {"1", "3", "17"}
    assert max(told["differences"].values()) <= 1e-5
    assert (told["path"], told["bytes"]) == (str(out), out.stat().st_size)
    assert told["input"] == ["n", *restore(checkpoint).spec.shape]


def test_export_goes_to_the_working_folder_under_the_models_name(
    plain: Cli, finished: Workspace
) -> None:
    done = plain("export", str(finished.paths.checkpoint("host", "gbt_realistic")))

    assert done.out.startswith("gbt_realistic.onnx: gbt_realistic, ")
    assert Path("gbt_realistic.onnx").is_file()
    assert "at batches of 1, 3, 17" in done.out


def test_export_that_differs_is_refused_and_not_written(
    plain: Cli, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = finished.paths.checkpoint("host", "gbt_realistic") / "model.onnx"
    monkeypatch.setattr(onnx, "_export", lambda model: other.read_bytes())
    monkeypatch.setattr(onnx, "PARITY", 1e-12)

    done = plain(
        "export",
        str(finished.paths.checkpoint("host", "gbt_realistic")),
        "--out",
        str(tmp_path / "model.onnx"),
    )

    assert done.code == 2
    assert "differs from the model by" in done.err
    assert not (tmp_path / "model.onnx").exists()


def test_export_of_a_damaged_checkpoint_is_refused(
    plain: Cli, copied: Workspace, tmp_path: Path
) -> None:
    folder = copied.paths.checkpoint("host", "gbt_realistic")
    flip_a_byte(folder / "model.ubj")

    done = plain("export", str(folder), "--out", str(tmp_path / "model.onnx"))

    assert done.code == 2
    assert "model.ubj: sha256 is" in done.err
    assert not (tmp_path / "model.onnx").exists()


def test_inspect_prints_the_training_epoch_by_epoch(plain: Cli, finished: Workspace) -> None:
    folder = str(finished.paths.checkpoint("host", "mlp_realistic"))

    described = plain("inspect", folder, "--history", "--json").json
    out = plain("inspect", folder, "--history").out

    assert [row["epoch"] for row in described["history"]] == [*range(1, described["epochs"] + 1)]
    assert "val macro f1" in out
    best = described["history"][described["best_epoch"] - 1]["val_macro_f1"]
    assert best == max(row["val_macro_f1"] for row in described["history"])
    assert f"{best:.4g}" in out
