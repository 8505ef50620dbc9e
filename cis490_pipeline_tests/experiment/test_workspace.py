from pathlib import Path

from cis490_pipeline.compute import ProcessCompute, SerialCompute
from cis490_pipeline.config import Settings
from cis490_pipeline.experiment.workspace import Workspace


def test_one_worker_needs_no_process() -> None:
    assert isinstance(Workspace(Settings(workers=1)).compute, SerialCompute)


def test_more_workers_are_processes() -> None:
    assert isinstance(Workspace(Settings(workers=2)).compute, ProcessCompute)


def test_everything_made_lies_below_the_data_folder() -> None:
    assert Workspace(Settings(data=Path("here"))).paths.root == Path("here")


def test_progress_is_told_what_is_worked_on() -> None:
    told: list[tuple[str, int, int]] = []
    workspace = Workspace(Settings(), lambda what, done, total: told.append((what, done, total)))

    workspace.reporter("cut grids")(3, 8)

    assert told == [("cut grids", 3, 8)]
