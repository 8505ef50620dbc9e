import json
from dataclasses import replace

import numpy as np
import pytest

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.live.engine import LiveEngine
from cis490_pipeline.live.watch.kept_alarms import FILE, AlarmKeeper
from cis490_pipeline_tests.live.made_up import Certain, device_rows, make_alarm, make_model
from cis490_pipeline_tests.store.episodes import T0_NS

S = NS_PER_S


def make_models(alarm=None):
    return [make_model(classifier=Certain(3), alarm=alarm or make_alarm())]


def run_for(seconds, keeper, models):
    engine = LiveEngine(models, start_ns=lambda: T0_NS)
    for row in device_rows(seconds):
        for report in engine.feed(row, row.t_wall_ns - T0_NS):
            keeper.window(report)
    keeper.close()
    return engine


def test_a_restart_continues_with_the_filter_and_the_alarm(tmp_path):
    models = make_models()
    run_for(60, AlarmKeeper(tmp_path, models), models)
    t_end_ns = json.loads((tmp_path / FILE).read_text())["t_end_ns"]
    again = make_models()

    text = AlarmKeeper(tmp_path, again).restore(lambda: t_end_ns)

    assert text == f"alarms that were on before the restart: {models[0].name}"
    assert again[0].alarm.kept() == models[0].alarm.kept()


def test_missed_windows_advance_the_filter_without_evidence(tmp_path):
    models = make_models()
    run_for(60, AlarmKeeper(tmp_path, models), models)
    t_end_ns = json.loads((tmp_path / FILE).read_text())["t_end_ns"]
    again = make_models()

    AlarmKeeper(tmp_path, again).restore(lambda: t_end_ns + 3600 * S)

    phases, alarming, _ = again[0].alarm.kept()
    assert alarming
    np.testing.assert_allclose(phases, np.full(5, 0.2), atol=1e-6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda saved: saved | {"version": 99},
        lambda saved: saved | {"models": {"summary_realistic": {"phases": [1]}}},
        lambda saved: (
            saved
            | {
                "models": {
                    k: v | {"phases": [0.9, 0.9, 0.0, 0.0, 0.0]} for k, v in saved["models"].items()
                }
            }
        ),
        lambda saved: {},
    ],
)
def test_damaged_alarms_start_clean_and_say_so(tmp_path, spoil):
    models = make_models()
    run_for(60, AlarmKeeper(tmp_path, models), models)
    path = tmp_path / FILE
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    again = make_models()

    text = AlarmKeeper(tmp_path, again).restore()

    assert text.endswith("alarms start clean")
    assert not again[0].alarm.kept()[1]


def test_alarms_of_other_settings_are_not_used(tmp_path):
    models = make_models()
    run_for(60, AlarmKeeper(tmp_path, models), models)
    other = make_alarm()
    other.settings = replace(other.settings, threshold=0.9)
    again = make_models(other)

    assert AlarmKeeper(tmp_path, again).restore() is None
    assert not again[0].alarm.kept()[1]


def test_without_a_file_nothing_is_said(tmp_path):
    assert AlarmKeeper(tmp_path, make_models()).restore() is None


def test_a_minute_without_a_change_is_one_write(tmp_path, monkeypatch):
    writes = []
    models = [make_model(classifier=Certain(0), alarm=make_alarm())]
    keeper = AlarmKeeper(tmp_path, models)
    monkeypatch.setattr(
        keeper,
        "_store",
        lambda: writes.append(1) or setattr(keeper, "_written_ns", keeper._t_end_ns),
    )

    run_for(15 + 10 + 125, keeper, models)

    # The first window ends at 25 s, then one a minute: 85 s and 145 s.
    assert len(writes) == 3


def test_a_full_disk_is_reported_and_retried(tmp_path):
    models = make_models()
    blocked = tmp_path / "state"
    blocked.write_text("a file where the folder should be")
    keeper = AlarmKeeper(blocked, models)

    run_for(30, keeper, models)
    assert keeper.report().trouble.startswith("the alarms cannot be stored")

    blocked.unlink()
    run_for(30, keeper, models)
    assert keeper.report().trouble is None
