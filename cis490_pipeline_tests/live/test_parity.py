"""Windows as they arrive are the batch's windows: features, calibration, probabilities, alarms."""

import numpy as np
import polars as pl
import pytest

from cis490_pipeline.domain import EpisodeRef, Variant
from cis490_pipeline.evaluation.predictions import read_predictions
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.extract import extract_episode
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.feeds.folder import ArchiveFeed
from cis490_pipeline.live.feeds.rows import LiveRow
from cis490_pipeline.live.loading import load_models
from cis490_pipeline.live.models import RawWindow
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.experiment.runs import FAST, SAMPLE
from cis490_pipeline_tests.live import spoilt
from cis490_pipeline_tests.live.made_up import KINDS, all_models, make_alarm, make_model

RECORDED = (
    EpisodeRef("elliott-thinkpad", "01M818T3B21K3XM3WCNJE8F1GP"),
    EpisodeRef("garage-pi", "01M819ERXT8DP0P021JH3Q31VP"),
    EpisodeRef("k-gamingcom", "01M819M3JEVJAEQKG2H7412VH0"),
    EpisodeRef("lab-nuc", "01M818ZEBE97BCH8SYXVWYQWYW"),
)
STORE = LocalStore(SAMPLE)


def replayed(ref, models, check=None, store=STORE):
    """All windows of a recorded episode, row by row."""
    feed = ArchiveFeed(store.archive_path(ref))
    engine = LiveEngine(models, start_ns=feed.start_ns, check=check, name=feed.name)
    reports = []
    while not feed.ended:
        for row in feed.poll(0):
            assert isinstance(row, LiveRow)
            reports += engine.feed(row, 0)
    return [*reports, *engine.finish()]


def of_batch(episode, model):
    """Probabilities of an episode's windows after the baseline, and their numbers."""
    cut = extract_episode(episode, model.variant)
    after = cut.starts >= 150
    kind = model.calibrator.kind
    X = (cut.tensors if kind == "tensor" else getattr(cut, kind))[after]
    calibrated = model.calibrator.apply(X, *baseline_statistics(cut.grid))
    return model.classifier.predict_proba(calibrated), (cut.starts[after] // 50).tolist()


def said_by(reports, model):
    """What a model said of every window of a replay."""
    outputs = (out for report in reports for out in report.outputs)
    return np.array([out.probabilities for out in outputs if out.model == model.name])


@pytest.mark.parametrize("ref", RECORDED, ids=str)
def test_replay_equals_batch_for_every_kind_and_variant(ref):
    episode = load_episode(STORE, ref, STORE.read_index().rows[ref])

    reports = replayed(ref, all_models())

    for model in all_models():
        wanted, index = of_batch(episode, model)
        assert [report.window_idx for report in reports] == index
        np.testing.assert_allclose(said_by(reports, model), wanted, rtol=0, atol=1e-6)


def test_a_channel_in_quarantine_is_unknown_live_as_it_is_in_batch():
    ref = RECORDED[0]
    episode = load_episode(STORE, ref, STORE.read_index().rows[ref])
    names = ("guest.load_1m", "guest.top_rss_bytes")
    models = [make_model(kind, quarantine=names) for kind in KINDS]

    reports = replayed(ref, models)

    for model in models:
        wanted, _ = of_batch(episode, model)
        np.testing.assert_allclose(said_by(reports, model), wanted, rtol=0, atol=1e-6)
        plain, _ = of_batch(episode, make_model(model.calibrator.kind))
        assert np.abs(plain - wanted).max() > 0.01
    # Nothing is missing of what the models may see.
    assert {out.known_share for report in reports[10:] for out in report.outputs} == {1.0}


@pytest.mark.parametrize("ref", RECORDED[:2], ids=str)
def test_a_models_windows_are_the_same_bits_beside_a_model_of_history(ref):
    def said(models):
        reports = replayed(ref, models)
        return [
            (report.grid.tobytes(), out.model, out.probabilities.tobytes())
            for report in reports
            for out in report.outputs
            if not out.model.startswith("history")
        ]

    assert said(all_models()) == said(all_models(("summary", "tensor")))


@pytest.mark.parametrize("ref", RECORDED[:2], ids=str)
def test_live_history_is_the_batchs_to_the_bit(ref):
    episode = load_episode(STORE, ref, STORE.read_index().rows[ref])
    wanted = extract_episode(episode, Variant.ORACLE).history

    reports = replayed(ref, all_models(("history",)))

    assert [report.window_idx for report in reports] == list(range(3, len(wanted)))
    found = [RawWindow(report.seen).of("history", Variant.ORACLE) for report in reports]
    assert np.array(found).tobytes() == wanted[3:].tobytes()
    assert max(len(report.seen) for report in reports) == 300


def test_without_a_model_of_history_a_device_holds_no_more_than_its_window(monkeypatch):
    held = []
    monkeypatch.setattr(
        "cis490_pipeline.live.engine.RawWindow",
        lambda seen: held.append(len(seen)) or RawWindow(seen),
    )

    replayed(RECORDED[0], all_models(("summary", "tensor")))

    assert set(held) == {100}


@pytest.mark.parametrize("ref", RECORDED[:2], ids=str)
def test_times_of_windows_are_the_batchs(ref):
    episode = load_episode(STORE, ref, STORE.read_index().rows[ref])

    reports = replayed(ref, [make_model()])

    assert [report.t_start_ns for report in reports] == [
        episode.t0_ns + report.window_idx * 5 * 10**9 for report in reports
    ]


@pytest.mark.parametrize(
    "spoil", [spoilt.delivered_again, spoilt.at_10_hz, spoilt.dips_and_negatives]
)
def test_what_recorders_do_to_rows_reads_alike_live_and_in_a_batch(tmp_path, spoil):
    store, ref = spoil(tmp_path, STORE, RECORDED[1])
    episode = load_episode(store, ref, store.read_index().rows[ref])
    wanted = extract_episode(episode, Variant.ORACLE)

    reports = replayed(ref, [make_model(variant=Variant.ORACLE)], store=store)

    assert len(reports) == int((wanted.starts >= 150).sum())
    for report, start in zip(reports, wanted.starts[wanted.starts >= 150], strict=True):
        np.testing.assert_allclose(
            report.grid, wanted.grid[start : start + 100], rtol=1e-6, atol=1e-6
        )


def test_trained_models_say_what_their_predictions_file_says(finished):
    folders = [finished.paths.checkpoint("host", f"{a}_{v}") for a, v in FAST]
    loaded = load_models(folders)
    frames = {m.name: read_predictions(f) for m, f in zip(loaded.models, folders, strict=True)}
    episode_id = frames["gbt_oracle"].filter(pl.col("side") == "test")["episode_id"][0]
    host = frames["gbt_oracle"].filter(pl.col("episode_id") == episode_id)["host_id"][0]

    reports = replayed(EpisodeRef(host, episode_id), loaded.models, loaded.check)

    for name, frame in frames.items():
        of_episode = frame.filter(pl.col("episode_id") == episode_id).sort("window_idx")
        wanted = of_episode.select("^p_.*$").to_numpy()
        said = [out.probabilities for r in reports for out in r.outputs if out.model == name]
        np.testing.assert_allclose(np.array(said), wanted, rtol=0, atol=2e-6)
        assert reports[0].suspect_baseline == of_episode["baseline_suspect"][0]


def test_the_alarm_is_one_that_is_fed_the_same_probabilities():
    model = make_model(variant=Variant.ORACLE, alarm=make_alarm())

    reports = replayed(RECORDED[0], [model])

    alarm = make_alarm()
    for report in reports:
        (out,) = report.outputs
        wanted = alarm.update(out.probabilities)
        assert (out.alarm.infected, out.alarm.alarming) == (wanted.infected, wanted.alarming)
