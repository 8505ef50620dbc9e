import os

import pytest

from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.limits import limited, limits_refused


@pytest.fixture
def removed(monkeypatch):
    """Groups that were removed: an ordinary folder with files cannot be."""
    groups = []
    monkeypatch.setattr(
        "cis490_pipeline.recording.host.limits._remove", lambda group, parent: groups.append(group)
    )
    return groups


def test_version_2_is_limited_by_cpu_max(tmp_path, removed):
    (tmp_path / "cgroup.controllers").touch()
    group = tmp_path / f"cis490-{os.getpid()}"
    with limited(42, 60, tmp_path):
        assert (group / "cpu.max").read_text() == "60000 100000"
        assert (group / "cgroup.procs").read_text() == "42"

    assert removed == [group]


def test_version_1_is_limited_by_a_quota(tmp_path, removed):
    (tmp_path / "cpu").mkdir()
    group = tmp_path / "cpu" / f"cis490-{os.getpid()}"
    with limited(42, 150, tmp_path):
        assert (group / "cpu.cfs_quota_us").read_text() == "150000"
        assert (group / "cpu.cfs_period_us").read_text() == "100000"

    assert removed == [group]


def test_without_a_limit_nothing_is_made(tmp_path):
    with limited(42, None, tmp_path):
        assert [*tmp_path.iterdir()] == []


def test_a_group_that_cannot_be_made_is_an_error_with_its_remedy(tmp_path):
    with pytest.raises(RecordingError, match=r"cannot be limited.*leave out cpu_percent"):  # noqa: SIM117
        with limited(42, 60, tmp_path / "missing"):
            pytest.fail("it is not limited")


def test_groups_of_dead_lanes_are_removed(tmp_path, removed):
    (tmp_path / "cpu").mkdir()
    stale, alive = tmp_path / "cpu" / "cis490-99999999", tmp_path / "cpu" / f"cis490-{os.getppid()}"
    stale.mkdir()
    alive.mkdir()
    with limited(42, 60, tmp_path):
        assert not stale.exists()
        assert alive.exists()


def test_whether_a_process_can_be_limited_is_tried(tmp_path, removed):
    (tmp_path / "cpu").mkdir()

    assert limits_refused(tmp_path) is None
    assert removed == [tmp_path / "cpu" / f"cis490-{os.getpid()}"]
    assert "No such file" in limits_refused(tmp_path / "missing")
