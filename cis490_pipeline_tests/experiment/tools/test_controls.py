import json
from dataclasses import replace

import jsonschema
import msgspec
import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import StoreError
from cis490_pipeline.evaluation.predictions import write_predictions
from cis490_pipeline.evaluation.schema.controls import ControlsReport
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.controls import controls_report
from cis490_pipeline.reporting.publish_schema import schema_text
from cis490_pipeline_tests.experiment.tools.recorded import (
    control,
    predictions_of,
    write_controls,
)

HOSTS = ("kiosk", "camera", "gateway")


def opened(tmp_path, episodes, **settings):
    write_controls(tmp_path / "store", episodes)
    return Workspace(Settings(store=tmp_path / "store", data=tmp_path / "data", **settings))


def test_a_recorder_that_shows_in_one_channel_is_found_in_packed_controls(tmp_path):
    episodes = [control(k, HOSTS[k % 2], pages=3) for k in range(6)]

    report = controls_report(opened(tmp_path, episodes))
    steps = report["steps"]

    assert msgspec.convert(report, ControlsReport) == report
    jsonschema.validate(report, json.loads(schema_text("controls")))
    assert [channel["channel"] for channel in steps["quarantined"]] == ["guest.top_rss_bytes"]
    assert steps["controls_by_host"] == {"camera": 3, "kiosk": 3}
    # The first look-alike of each begins alone; it does not step, and the second is beside a sham.
    (channel,) = steps["quarantined"]
    assert channel["n_look_alikes"] == 6
    assert abs(channel["look_alike"]) < 4096 < channel["median"]
    # The fourth sham of each is 4 s before a look-alike.
    assert (steps["n_steps"], steps["n_left_out"]) == (18, 6)
    row = next(
        row
        for row in steps["rows"]
        if (row["channel"], row["transition"]) == ("guest.top_rss_bytes", "any")
    )
    assert row["step"] == pytest.approx(3 * 4096, rel=0.3)


def test_a_recorder_that_shows_nowhere_quarantines_nothing(tmp_path):
    steps = controls_report(opened(tmp_path, [control(k, HOSTS[k % 2]) for k in range(6)]))["steps"]

    assert (steps["quarantined"], steps["why"]) == ([], None)


def test_test_hosts_are_not_looked_at_where_the_settings_name_the_others(tmp_path):
    episodes = [control(k, host) for k, host in enumerate(HOSTS)]
    workspace = opened(tmp_path, episodes, train_hosts=("kiosk",), val_hosts=("camera",))

    assert controls_report(workspace)["hosts"] == ["camera", "kiosk"]
    assert controls_report(workspace, {"gateway"})["hosts"] == ["gateway"]
    with pytest.raises(StoreError, match="no episode of nobody; its hosts are camera, gateway"):
        controls_report(workspace, {"nobody"})


def test_what_is_no_control_is_left_out_with_its_reason(tmp_path):
    infected, other, foreign, spoilt = (control(k) for k in range(4))
    label = infected.labels[0]
    later = {"phase": "armed", "prev": "clean", "t_wall_ns": label["t_wall_ns"] + 60 * 10**9}
    infected.labels.append({**label, **later})
    infected.meta["result"]["phases_observed"] = ["clean", "armed"]
    other.meta["recording"]["shams"] = []
    del foreign.meta["recording"]
    spoilt.raw["telemetry-proc.jsonl"] = b"no row\n"

    report = controls_report(opened(tmp_path, [infected, other, foreign, spoilt]))

    assert report["n_episodes"] == 4
    assert report["steps"]["n_controls"] == 0
    assert report["unreadable"].keys() == {str(infected.ref), str(spoilt.ref)}
    assert report["unreadable"][str(infected.ref)] == "it has shams, and labels other than clean"
    assert "row_schema" in report["unreadable"][str(spoilt.ref)]


def test_infected_runs_stand_beside_the_controls(tmp_path):
    infected = control(9, pages=3)
    shams = infected.meta["recording"].pop("shams")
    for sham in shams:
        label = {**infected.labels[0], **sham, "prev": infected.labels[-1]["phase"]}
        infected.labels.append(label)

    steps = controls_report(opened(tmp_path, [control(0), infected]))["steps"]

    row = next(
        row
        for row in steps["rows"]
        if (row["channel"], row["transition"]) == ("guest.top_rss_bytes", "onset")
    )
    assert (steps["n_controls"], steps["n_infected"], row["n_infected"]) == (1, 1, 1)
    assert row["infected"] == pytest.approx(3 * 4096, rel=0.5)


def test_blocks_are_predicted_from_the_windows_of_their_episodes(tmp_path):
    episodes = [control(k, HOSTS[k % 2], block=k % 2 + 1) for k in range(10)]

    before, after = controls_report(opened(tmp_path, episodes))["blocks"]

    assert [before["features"], after["features"]] == ["before calibration", "after calibration"]
    assert before["episodes_by_block"] == {"1": 5, "2": 5}
    assert before["n_windows"] == 10 * 20
    # Each block is of one host, and noise shows neither.
    assert before["host_balanced"] == 1.0
    assert before["scores"]["balanced_low"] < 0.5 < before["scores"]["balanced_high"]


def test_a_model_that_reads_the_recorder_is_seen_by_its_stored_predictions(tmp_path):
    episodes = [control(k, HOSTS[k % 3]) for k in range(6)]
    workspace = opened(tmp_path, episodes, train_hosts=("kiosk",), val_hosts=("camera",))
    frame = pl.concat(predictions_of(episode) for episode in episodes)
    write_predictions(
        workspace.paths.checkpoint(Recipe.HOST, "gbt_realistic"),
        frame,
        checkpoint_digest="c",
        split_digest="s",
    )

    (score,) = controls_report(workspace)["models"]

    # Of six controls two each are of the hosts that may be looked at.
    assert (score["model"], score["n_controls"], score["n_shams"]) == ("gbt_realistic", 4, 16)
    assert score["macro_f1"] == 1.0 > score["macro_f1_chance"]
    assert score["p_macro_f1"] < 0.01
    assert controls_report(workspace, recipe=Recipe.SAMPLE)["models"] == []


def test_notes_of_another_form_are_an_error_that_names_the_episode(tmp_path):
    episode = control(0)
    episode.meta["recording"]["shams"] = [{"phase": "asleep", "t_wall_ns": 1}]
    workspace = opened(tmp_path, [episode])

    with pytest.raises(StoreError, match=f"{episode.ref}: meta.json has a section `recording`"):
        controls_report(workspace)


def test_other_times_are_drawn_by_the_seed(tmp_path):
    workspace = opened(tmp_path, [control(0)])
    other = replace(workspace, settings=replace(workspace.settings, seed=1))

    assert controls_report(workspace) == controls_report(workspace)
    assert controls_report(workspace)["steps"] != controls_report(other)["steps"]
