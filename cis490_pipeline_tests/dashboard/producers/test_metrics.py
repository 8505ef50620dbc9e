import json
import re
import shutil
import threading

import msgspec
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from filelock import FileLock

from cis490_pipeline.dashboard.producers import scores
from cis490_pipeline.dashboard.producers.metrics import MetricEvents, events_of, metrics
from cis490_pipeline.dashboard.producers.scores import Failed, Scores
from cis490_pipeline.dashboard.producers.ticks import publish_on_ticks
from cis490_pipeline.dashboard.state.current import State
from cis490_pipeline.errors import EventError, SplitError
from cis490_pipeline.evaluation.predictions import PROBABILITY_COLUMNS, read_predictions
from cis490_pipeline.events.contract import ModelFailure, ModelMetric, leaderboard_events
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline.storage.files import read_json, write_json
from cis490_pipeline_tests.checkpoints.consistent import seal
from cis490_pipeline_tests.events.endpoint import Dashboard, serving

TRAINED = ("gbt_realistic", "gbt_oracle", "mlp_realistic", "mlp_oracle")

REPORT = {
    "model": "gru_oracle",
    "split": "host",
    "split_digest": "5a" * 32,
    "variant": "oracle",
    "macro_f1": 0.5,
    "ci_low": 0.25,
    "ci_high": 0.75,
    "n_episodes": 4,
    "n_windows": 40,
    "untested_profiles": {"h": ["flood"]},
    "confusion": {"labels": ["clean", "armed"], "counts": [[3, 1], [0, 2]]},
    "profile_host": [
        {
            "profile": "flood",
            "host_id": "h",
            "tested": False,
            "macro_f1": None,
            "n_episodes": 0,
            "n_windows": 0,
            "why": "untested: this host did not run it",
        }
    ],
}
GOLDEN = """\
{"type":"model_metric","event_id":"ID","model":"gru_oracle","accuracy":0.5,"metric":"macro_f1",\
"ci_low":0.25,"ci_high":0.75,"n_episodes":4,"n_windows":40,"split":"host","variant":"oracle",\
"untested_profiles":{"h":["flood"]}}
{"type":"confusion","event_id":"ID","model":"gru_oracle","labels":["clean","armed"],\
"counts":[[3,1],[0,2]],"split":"host","variant":"oracle"}
{"type":"group_metric","event_id":"ID","model":"gru_oracle","profile":"flood",\
"host_id":"h","macro_f1":null,"why":"untested: this host did not run it","n_episodes":0,\
"n_windows":0,"split":"host","variant":"oracle"}
"""


def flags_of(places):
    return [
        *("--validation", str(places.validation), "--artifacts", str(places.artifacts.parent)),
        *("--summary", str(places.summary), "--tensors", str(places.tensors)),
        *("--split-recipe", "host"),
    ]


def test_a_reports_events_are_these_lines():
    lines = "".join(msgspec.json.encode(event).decode() + "\n" for event in events_of(REPORT))

    assert re.sub(r"5a5a5a5a5a5a/host/gru_oracle/[0-9a-f]{12}", "ID", lines) == GOLDEN


def test_other_numbers_are_another_event():
    ids = {events_of(REPORT | {"macro_f1": score})[0].event_id for score in (0.5, 0.50001)}

    assert len(ids) == 2


def test_scores_are_those_of_the_evaluation_reports(places):
    reports = Scores(places).reports()

    for name in TRAINED:
        wanted = read_json(places.reports / f"{name}.json")
        for key in ("macro_f1", "ci_low", "ci_high", "confusion", "profile_host", "n_windows"):
            assert reports[name][key] == wanted[key]


def test_a_dry_run_prints_every_model_scored_or_failed_and_publishes_nothing(places, caplog):
    caplog.set_level("INFO")
    done = CliRunner().invoke(
        metrics, [*flags_of(places), "--dry-run", "--publish-url", "http://127.0.0.1:1/publish"],
        standalone_mode=False,
    )  # fmt: skip

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.return_value == 1
    assert {e["model"] for e in events if e["type"] == "model_metric"} == set(TRAINED)
    failed = [e for e in events if e["type"] == "model_failure"]
    assert len(failed) == 8
    assert all("not trained yet" in e["why"] for e in failed)
    assert "4 models scored, 8 failed" in caplog.messages
    assert any(text.startswith("failed: gru_oracle: ") for text in caplog.messages)


@pytest.mark.parametrize("spelling", ["--recipe", "--split-recipe", "--split"])
def test_the_designs_flags_are_there(spelling):
    names = {option for parameter in metrics.params for option in parameter.opts}

    assert {spelling, "--validation", "--artifacts", "--summary", "--tensors"} <= names
    assert {"--train-hosts", "--publish-url", "--interval", "--dry-run"} <= names


def test_missing_predictions_are_made_as_evaluation_makes_them_and_counted(copied):
    folder = copied.artifacts / "mlp_oracle"
    wanted = pl.read_parquet(folder / "predictions.parquet")
    before = read_json(folder / "predictions.json")["n_test_openings"]
    (folder / "predictions.parquet").unlink()
    source = Scores(copied)

    report = source.reports()["mlp_oracle"]

    made = pl.read_parquet(folder / "predictions.parquet")
    assert made.drop(PROBABILITY_COLUMNS).equals(wanted.drop(PROBABILITY_COLUMNS))
    np.testing.assert_allclose(
        made.select(PROBABILITY_COLUMNS).to_numpy(),
        wanted.select(PROBABILITY_COLUMNS).to_numpy(),
        atol=2e-6,
    )
    assert read_json(folder / "predictions.json")["n_test_openings"] == before + 1
    assert source.n_scored_now == 1
    assert report["macro_f1"] == read_json(copied.reports / "mlp_oracle.json")["macro_f1"]


def test_while_the_pipeline_is_at_work_missing_predictions_wait_and_stored_ones_are_shown(
    copied, monkeypatch
):
    monkeypatch.setattr(scores, "LOCK_WAIT_S", 0.01)
    (copied.artifacts / "mlp_oracle" / "predictions.parquet").unlink()
    source = Scores(copied)

    # A lock of its own, as another process has it.
    with FileLock(f"{copied.records}.lock"):
        during = source.reports()
    after = source.reports()

    assert copied.records.is_dir()
    assert "the pipeline is at work on this split" in during["mlp_oracle"].why
    assert during["gbt_oracle"] == after["gbt_oracle"]
    assert after["mlp_oracle"]["macro_f1"] is not None


def test_a_checkpoint_replaced_while_the_lock_was_waited_for_is_not_scored_as_the_old_one(
    copied, monkeypatch
):
    folder = copied.artifacts / "mlp_oracle"
    (folder / "predictions.parquet").unlink()
    real = scores.lock_of

    def replaced_meanwhile(records):
        shutil.rmtree(folder)
        shutil.copytree(copied.artifacts / "mlp_realistic", folder)
        return real(records)

    monkeypatch.setattr(scores, "lock_of", replaced_meanwhile)

    report = Scores(copied).reports()["mlp_oracle"]

    assert "trained again since it was looked at" in report.why
    assert read_predictions(folder).height > 0


def test_a_score_has_the_identity_that_the_leaderboard_publishes_it_under(places):
    board = read_json(places.reports / "leaderboard.json")

    ours = [e for e in MetricEvents(Scores(places)).make() if isinstance(e, ModelMetric)]

    assert {e.event_id for e in ours} == {e.event_id for e in leaderboard_events(board)}
    assert len(ours) == len(TRAINED)


def test_the_test_side_is_opened_once_per_variant_and_kind_and_never_on_a_tick(copied, monkeypatch):
    opened = []
    original = scores.load_windows

    def counted(dataset, side, calibrator, **which):
        opened.append((dataset.kind, calibrator.variant, side, which["include_baseline"]))
        return original(dataset, side, calibrator, **which)

    monkeypatch.setattr(scores, "load_windows", counted)
    for name in TRAINED:
        (copied.artifacts / name / "predictions.parquet").unlink()
    source = MetricEvents(Scores(copied))

    first = source.make()
    n_opened = len(opened)
    again = source.make()

    # Two variants of summaries, validation and test, with and without the baseline: gbt and mlp
    # share them.
    assert n_opened == len(set(opened)) == 8
    assert len(opened) == n_opened
    assert again == first


def test_a_checkpoint_of_another_split_is_published_as_failed_and_named(copied):
    manifest = copied.artifacts / "gbt_oracle" / "checkpoint.json"
    write_json(manifest, read_json(manifest) | {"split_digest": "0" * 64})
    seal(manifest.parent)

    events = MetricEvents(Scores(copied)).make()

    failed = {e.model: e.why for e in events if isinstance(e, ModelFailure)}
    assert "trained on split 000000000000" in failed["gbt_oracle"]
    assert {e.model for e in events if isinstance(e, ModelMetric)} == {
        "gbt_realistic",
        "mlp_realistic",
        "mlp_oracle",
    }


@pytest.mark.parametrize(
    "file", ["model.onnx", "model.ubj", "golden.safetensors", "checkpoint.json"]
)
def test_a_model_damaged_and_repaired_between_ticks_is_shown_as_it_is(copied, file):
    path = copied.artifacts / "gbt_oracle" / file
    whole, source, state = path.read_bytes(), MetricEvents(Scores(copied)), State()

    def shown():
        for event in source.make():
            state.apply(event, 0)
        events = [json.loads(encoded) for encoded in state.snapshot()]
        return {e["type"] for e in events if e.get("model") == "gbt_oracle"}

    before = shown()
    path.write_bytes(whole[:-9] + b"damaged!!")
    damaged = shown()
    path.write_bytes(whole)

    assert before == shown() == {"model_metric", "confusion", "group_metric"}
    assert damaged == {"model_failure"}


def test_a_checkpoint_in_another_models_folder_is_published_as_failed(copied):
    shutil.rmtree(copied.artifacts / "gbt_oracle")
    shutil.copytree(copied.artifacts / "mlp_oracle", copied.artifacts / "gbt_oracle")

    report = Scores(copied).reports()["gbt_oracle"]

    assert isinstance(report, Failed)
    assert "holds the checkpoint of mlp_oracle" in report.why


def test_without_a_split_every_model_has_failed_with_the_reason(copied):
    copied.validation.unlink()

    reports = Scores(copied).reports()

    assert len(reports) == 12
    assert all(isinstance(report, Failed) for report in reports.values())
    assert "validation_index.parquet: no such file" in reports["gbt_oracle"].why


def test_a_model_that_appears_between_two_ticks_is_scored_on_the_next(copied, tmp_path):
    folder = copied.artifacts / "gbt_oracle"
    shutil.move(folder, tmp_path / "away")
    source = Scores(copied)

    before = source.reports()["gbt_oracle"]
    shutil.move(tmp_path / "away", folder)
    after = source.reports()["gbt_oracle"]

    assert isinstance(before, Failed)
    assert after["macro_f1"] is not None


def test_other_train_hosts_than_the_splits_are_refused(places):
    done = CliRunner().invoke(
        metrics, [*flags_of(places), "--train-hosts", "lab-nuc,garage-pi", "--dry-run"]
    )

    assert isinstance(done.exception, SplitError)
    assert "trains on elliott-thinkpad, wanted garage-pi, lab-nuc" in str(done.exception)


def test_published_once_a_dashboard_that_is_not_there_is_an_error(places):
    with serving() as server:
        publish_on_ticks(MetricEvents(Scores(places)).make, Publisher(server.url), interval_s=0)
        assert len(server.events) > 4 + 8
    with pytest.raises(EventError, match="cannot be reached"):
        publish_on_ticks(MetricEvents(Scores(places)).make, Publisher(server.url), interval_s=0)


def test_a_later_tick_that_fails_is_told_and_left_out_and_a_first_one_ends_it(caplog):
    stop, made = threading.Event(), []

    def make():
        made.append(len(made))
        if len(made) == 2:
            raise SplitError("is being written")
        if len(made) == 4:
            stop.set()
        return [ModelMetric(model=f"m{len(made)}", accuracy=0.5)]

    with serving() as server:
        publish_on_ticks(make, Publisher(server.url), interval_s=0.02, stop=stop)

        assert server.events[-1]["model"] == "m4"
    assert "tick skipped: is being written" in caplog.messages
    made[:] = [0]
    with pytest.raises(SplitError, match="is being written"):
        publish_on_ticks(make, Publisher(server.url), interval_s=1)


def test_ticks_publish_again_and_survive_a_dashboard_that_is_down():
    server = Dashboard()
    server.server_close()
    stop, ticks = threading.Event(), []

    def make():
        ticks.append(len(ticks))
        return [ModelMetric(model=f"m{len(ticks)}", accuracy=0.5)]

    producer = threading.Thread(
        target=publish_on_ticks,
        args=(make, Publisher(server.url)),
        kwargs={"interval_s": 0.05, "stop": stop, "first_pause_s": 0.05},
    )
    producer.start()
    while len(ticks) < 6:
        stop.wait(0.01)
    with serving(Dashboard(server.server_port)) as again:
        while len(again.events) < 5:
            stop.wait(0.01)
        stop.set()
        producer.join()
        seen = [int(event["model"][1:]) for event in again.events]

    assert seen == sorted(set(seen))
    assert seen[0] >= 6 - 1
    assert seen[-1] == len(ticks)
