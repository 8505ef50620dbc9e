import json

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.checkpoints.alarm_file import alarm_beside, write_alarm
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.predictions import (
    PREDICTION_COLUMNS,
    PREDICTIONS_VERSION,
    matrices_of,
    predicted_classes,
    prediction_frame,
    read_predictions,
    require_scored,
    scored_windows,
    true_classes,
    write_predictions,
)
from cis490_pipeline.storage.files import file_sha256
from cis490_pipeline_tests.evaluation.made_up import predictions, windows
from cis490_pipeline_tests.live.made_up import make_alarm

DIGESTS = {"checkpoint_digest": "c" * 64, "split_digest": "s" * 64}


@pytest.fixture
def frame():
    return predictions(windows(), skill=2)


def test_what_is_written_is_read_back(tmp_path, frame):
    write_predictions(tmp_path, frame, **DIGESTS)

    assert read_predictions(tmp_path, **DIGESTS).equals(frame)
    assert read_predictions(tmp_path).columns == list(PREDICTION_COLUMNS)


@pytest.fixture
def touching(frame):
    """The same windows again, as if the first of each episode touched its baseline."""
    first = pl.col("window_idx") == 3
    return frame.with_columns(touches_baseline=first)


def test_windows_that_touch_the_baseline_are_read_only_when_asked_for(tmp_path, touching):
    manifest = write_predictions(tmp_path, touching, **DIGESTS)

    scored = read_predictions(tmp_path)
    assert scored.equals(touching.filter(pl.col("window_idx") > 3))
    assert read_predictions(tmp_path, include_baseline=True).equals(touching)
    assert (manifest["n_windows"], manifest["n_windows_scored"]) == (120, 108)


def test_a_window_that_says_nothing_about_the_baseline_is_refused(tmp_path, frame):
    unmarked = frame.with_columns(touches_baseline=pl.lit(None, dtype=pl.Boolean))

    with pytest.raises(EvaluationError, match="of 120 windows nothing says whether they touch"):
        write_predictions(tmp_path, unmarked, **DIGESTS)


def test_a_dataset_calls_the_mark_baseline():
    keys = windows().rename({"touches_baseline": "baseline", "y_true": "phase"})

    frame = prediction_frame(
        keys.with_columns(baseline=pl.col("window_idx") == 3), np.full((120, 5), 0.2)
    )

    assert frame["touches_baseline"].sum() == 12


def test_scores_refuse_windows_that_touch_the_baseline(touching):
    require_scored("cnn_oracle", scored_windows(touching))

    with pytest.raises(EvaluationError, match="cnn_oracle: 12 of 120 windows touch the baseline"):
        require_scored("cnn_oracle", touching)


def test_version_3_is_read_with_its_column_called_split(tmp_path, frame):
    write_predictions(tmp_path, frame, **DIGESTS)
    path, noted = tmp_path / "predictions.parquet", tmp_path / "predictions.json"
    frame.rename({"side": "split"}).write_parquet(path)
    older = {"version": "3", "sha256": file_sha256(path)}
    noted.write_text(json.dumps(json.loads(noted.read_text()) | older))

    assert read_predictions(tmp_path, **DIGESTS).equals(frame)


@pytest.mark.parametrize("name", ["checkpoint_digest", "split_digest"])
def test_predictions_of_something_else_are_refused(tmp_path, frame, name):
    write_predictions(tmp_path, frame, **DIGESTS)

    with pytest.raises(EvaluationError, match=f"{name} is .*, expected other"):
        read_predictions(tmp_path, **{**DIGESTS, name: "other"})


def test_predictions_that_were_changed_are_refused(tmp_path, frame):
    write_predictions(tmp_path, frame, **DIGESTS)
    frame.reverse().write_parquet(tmp_path / "predictions.parquet")

    with pytest.raises(EvaluationError, match=r"not the file predictions\.json describes"):
        read_predictions(tmp_path)


def test_missing_predictions_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="no predictions to read"):
        read_predictions(tmp_path)


def test_a_manifest_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "predictions.json").write_text("[1]")

    with pytest.raises(EvaluationError, match="no manifest of predictions: Expected `object`"):
        read_predictions(tmp_path)


def test_every_look_at_the_test_side_is_counted_and_a_look_at_val_is_none(tmp_path, frame):
    val = frame.filter(pl.col("side") == "val")

    opened = [
        write_predictions(tmp_path, part, **{**DIGESTS, "checkpoint_digest": checkpoint})
        for part, checkpoint in [(frame, "a"), (val, "a"), (frame, "b")]
    ]

    assert [manifest["n_test_openings"] for manifest in opened] == [1, 1, 2]
    assert json.loads((tmp_path / "predictions.json").read_text())["n_test_openings"] == 2


def test_another_split_starts_counting_anew(tmp_path, frame):
    write_predictions(tmp_path, frame, **DIGESTS)

    manifest = write_predictions(tmp_path, frame, **{**DIGESTS, "split_digest": "t"})

    assert manifest["n_test_openings"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_true": pl.lit("failed")}, r"y_true holds \['failed'\]"),
        ({"side": pl.lit("train")}, r"side holds \['train'\]"),
        ({"window_idx": pl.lit(0)}, "windows are there twice"),
        ({"p_clean": pl.lit(float("nan"))}, "120 rows are no probabilities, first row 0"),
        ({"p_clean": pl.lit(-0.1)}, "rows are no probabilities"),
        ({"p_clean": pl.lit(0.999)}, "rows are no probabilities"),
    ],
)
def test_what_cannot_be_scored_is_not_written(tmp_path, frame, change, message):
    with pytest.raises(EvaluationError, match=message):
        write_predictions(tmp_path, frame.with_columns(**change), **DIGESTS)

    assert not list(tmp_path.iterdir())


def test_absent_columns_are_named(tmp_path, frame):
    with pytest.raises(EvaluationError, match=r"lack the columns \['purity', 'p_armed'\]"):
        write_predictions(tmp_path, frame.drop("purity", "p_armed"), **DIGESTS)


def test_single_precision_probabilities_are_taken(frame):
    proba = frame.select(pl.col("^p_.*$")).to_numpy().astype(np.float32)

    taken = prediction_frame(windows().rename({"y_true": "phase"}), proba)

    assert predicted_classes(taken).tolist() == predicted_classes(frame).tolist()


def test_one_row_of_probabilities_per_window_is_needed():
    with pytest.raises(EvaluationError, match=r"shape \(120, 5\), got \(3, 5\)"):
        prediction_frame(windows(), np.full((3, 5), 0.2))


def test_matrices_count_every_window_under_its_episode(frame):
    matrices = matrices_of(frame)

    assert matrices.counts.shape == (12, 5, 5)
    assert matrices.n_windows == frame.height
    assert np.trace(matrices.pooled) == (true_classes(frame) == predicted_classes(frame)).sum()


def test_a_table_that_is_none_is_refused_though_its_digest_is_right(tmp_path):
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1 and no more")
    manifest = {
        "version": PREDICTIONS_VERSION,
        "sha256": file_sha256(tmp_path / "predictions.parquet"),
    }
    (tmp_path / "predictions.json").write_text(json.dumps(manifest))

    with pytest.raises(EvaluationError, match=r"predictions\.parquet: no table of predictions: "):
        read_predictions(tmp_path)


def test_an_alarm_stays_named_while_its_model_is_scored_again_and_no_longer(tmp_path, frame):
    write_predictions(tmp_path, frame, **DIGESTS)
    write_alarm(tmp_path, make_alarm().settings.to_dict())

    write_predictions(tmp_path, frame, **DIGESTS)
    assert alarm_beside(tmp_path, "c" * 64).threshold == make_alarm().settings.threshold
    with pytest.raises(EvaluationError, match=r"alarm\.json: is of the model cccccccccccc"):
        alarm_beside(tmp_path, "d" * 64)
    write_predictions(tmp_path, frame, **{**DIGESTS, "checkpoint_digest": "d" * 64})
    with pytest.raises(EvaluationError, match=r"alarm\.json: predictions\.json does not name it"):
        alarm_beside(tmp_path, "d" * 64)
