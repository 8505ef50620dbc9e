"""The public Python API as a user meets it: names, cost of the import, refusals."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import cis490_pipeline as cis
from cis490_pipeline.errors import CalibrationError, ConfigError, EvaluationError, StoreError
from cis490_pipeline.experiment.stages.workspace import Workspace

FUNCTIONS = [name for name in cis.__all__ if inspect.isfunction(getattr(cis, name))]
IMPORT_MS = 50


def milliseconds_of(code: str) -> float:
    timed = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return 1e3 * float(done.stdout)


def test_importing_the_package_takes_milliseconds_and_loads_no_library() -> None:
    code = "import cis490_pipeline, sys; assert not {'numpy', 'polars', 'click'} & set(sys.modules)"

    assert min(milliseconds_of(code) for _ in range(3)) <= IMPORT_MS


def test_every_public_name_is_listed_before_and_after_it_is_used() -> None:
    code = "import cis490_pipeline as c; assert set(c.__all__) <= set(dir(c)); c.load_dataset"

    assert milliseconds_of(code) > 0
    assert set(cis.__all__) <= set(dir(cis))


def test_an_unknown_name_is_refused_as_by_any_module() -> None:
    with pytest.raises(AttributeError, match="'cis490_pipeline' has no attribute 'load_datset'"):
        _ = cis.load_datset  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_typed_and_documented_with_errors_and_an_example(name: str) -> None:
    function = getattr(cis, name)
    signature = inspect.signature(function)
    docs = inspect.getdoc(function) or ""

    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    for section in ("Raises", "Examples"):
        assert re.search(rf"^{section}\n-+\n", docs, re.MULTILINE)


def test_the_names_type_checkers_see_are_those_that_are_imported() -> None:
    text = Path(cis.__file__).read_text(encoding="utf-8")
    seen = re.findall(r"^ {8}(\w+),$|^ {4}from \S+ import (\w+)$", text, re.MULTILINE)
    named = {a or b for a, b in seen} - {"import_module"}

    assert set(cis.__all__) <= named


def test_a_wrong_name_is_answered_by_those_there_are(tmp_path: Path) -> None:
    lab = cis.open_workspace(data=tmp_path)

    with pytest.raises(ConfigError, match="unknown recipe 'hosts'; known are host, sample, time"):
        cis.make_datasets(lab, "hosts")
    with pytest.raises(ConfigError, match="unknown architecture 'xgb'; known are gbt, mlp"):
        cis.train_model(lab, "host", "xgb")


def test_what_was_not_made_yet_is_refused_with_what_makes_it(tmp_path: Path) -> None:
    lab = cis.open_workspace(data=tmp_path)

    with pytest.raises(EvaluationError, match=r"leaderboard\.json: no leaderboard .* cis490 run"):
        cis.read_leaderboard(lab, "host")
    with pytest.raises(EvaluationError, match="no predictions to read"):
        cis.read_predictions(lab, "host", "gbt_realistic")


def test_an_episode_that_is_none_of_the_stores_is_refused(finished: Workspace) -> None:
    with pytest.raises(StoreError, match=r"no episode '\.\./x'; name one as HOST/EPISODE_ID"):
        cis.load_episode(finished, "../x")


@pytest.mark.parametrize("kind", ["tensor", "summary"])
def test_a_dataset_is_aligned_by_window(finished: Workspace, kind: str) -> None:
    dataset = cis.load_dataset(finished, "host", "val", kind=kind)  # type: ignore[arg-type]

    assert len(dataset) == len(dataset.X) == dataset.keys.height
    assert dataset.X.shape[1] == len(dataset.names)
    assert [str(cis.PHASES[k]) for k in dataset.y] == dataset.keys["phase"].to_list()


def test_a_model_says_of_a_dataset_what_the_pipeline_stored(finished: Workspace) -> None:
    model = cis.load_model(finished.paths.checkpoint("host", "gbt_realistic"))
    stored = cis.read_predictions(finished, "host", "gbt_realistic")
    test = cis.load_dataset(finished, "host", "test", model=model)

    made = cis.predictions_of(test, cis.predict(model, test))

    p = [name for name in made.columns if name.startswith("p_")]
    same = made.join(stored, on=["episode_id", "window_idx"], suffix="_stored", how="inner")
    assert same.height == made.height
    difference = same.select(p).to_numpy() - same.select(f"{name}_stored" for name in p).to_numpy()
    assert np.abs(difference).max() < 1e-4


def test_a_dataset_calibrated_for_another_model_is_refused(finished: Workspace) -> None:
    model = cis.load_model(finished.paths.checkpoint("host", "gbt_realistic"))
    oracle = cis.load_dataset(finished, "host", "val", variant="oracle", kind="summary")

    with pytest.raises(CalibrationError, match="load it with model="):
        cis.predict(model, oracle)


def test_the_report_of_stored_predictions_has_the_scores_of_the_pipelines(
    finished: Workspace,
) -> None:
    predictions = cis.read_predictions(finished, "host", "gbt_realistic")
    split = cis.load_split(finished, "host")
    report = cis.evaluate_checkpoint(finished, "host", "gbt")

    again = cis.evaluate_predictions(predictions, split)
    interval = cis.macro_f1(predictions.filter(pl.col("side") == "test"))

    for name in ("macro_f1", "ci_low", "ci_high", "n_episodes", "per_class", "per_host"):
        assert again[name] == report[name]  # type: ignore[literal-required]
    assert (interval.estimate, interval.low) == (report["macro_f1"], report["ci_low"])


def test_a_checkpoint_that_was_not_trained_is_refused(finished: Workspace) -> None:
    with pytest.raises(EvaluationError, match="train it first: cis490 train --split host"):
        cis.evaluate_checkpoint(finished, "host", "gru")


def test_the_leaderboard_holds_every_model_that_was_evaluated(finished: Workspace) -> None:
    board = cis.read_leaderboard(finished, "host")

    assert {"gbt_realistic", "mlp_oracle"} <= {row["model"] for row in board["rows"]}
