import pytest

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.state_folder import held_state


def test_one_process_at_a_time_stores_a_devices_state(tmp_path):
    folder = tmp_path / "state"

    with (
        held_state(folder),
        pytest.raises(ConfigError, match="stop that one, or name another folder"),
        held_state(folder),
    ):
        pass
    with held_state(folder), held_state(None):
        assert folder.is_dir()


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    left = tmp_path / ".alarms.json.0123456789ab.tmp"
    others = [tmp_path / name for name in ("alarms.json", "notes.tmp", ".mine.tmp")]
    for path in (left, *others):
        path.write_text("{}")

    with held_state(tmp_path):
        assert not left.exists()
        assert all(path.exists() for path in others)


def test_a_folder_that_cannot_be_made_is_not_held(tmp_path):
    (tmp_path / "state").write_text("a file stands in the way")

    with held_state(tmp_path / "state"):
        pass
