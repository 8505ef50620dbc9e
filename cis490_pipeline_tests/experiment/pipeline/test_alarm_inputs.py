"""What ran during recorded episodes, read for the alarm's report."""

import polars as pl
import pytest

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.pipeline.alarm_inputs import look_alikes
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline_tests.experiment.runs import SAMPLE, SIX
from cis490_pipeline_tests.experiment.tools.recorded import (
    LOOK_ALIKES_S,
    control,
    ns,
    write_controls,
)


def scored_in(store, data, sides):
    """Return a workspace of which the split's index names the sides of some episodes."""
    workspace = Workspace(Settings(store=store, data=data))
    rows = [(ref.host_id, ref.episode_id, side) for ref, side in sides.items()]
    path = workspace.paths.validation_index(Recipe.HOST)
    path.parent.mkdir(parents=True)
    columns = ["host_id", "episode_id", "side"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(path)
    return workspace


def test_what_ran_is_read_of_the_scored_sides_alone(tmp_path):
    episodes = [control(k) for k in range(3)]
    write_controls(tmp_path / "store", episodes)
    sides = dict(zip((e.ref for e in episodes), ("train", "val", "test"), strict=True))

    found = look_alikes(scored_in(tmp_path / "store", tmp_path / "data", sides), Recipe.HOST, "a")

    ids = [episode.ref.episode_id for episode in episodes]
    assert sorted(found.rows()) == [
        (name, "backup", ns(began_s), ns(ended_s))
        for name in ids[1:]
        for began_s, ended_s in LOOK_ALIKES_S
    ]


@pytest.mark.parametrize("sides", [{SIX[0]: "val", SIX[4]: "test"}, {}])
def test_recordings_without_notes_have_no_table(tmp_path, sides):
    assert look_alikes(scored_in(SAMPLE, tmp_path, sides), Recipe.HOST, "b") is None
