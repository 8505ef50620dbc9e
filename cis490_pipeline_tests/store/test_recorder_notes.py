import pytest

from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.recorder_notes import LookAlike, RecorderNotes, Sham, recorder_notes
from cis490_pipeline_tests.store.episodes import REF, MadeEpisode


def notes_of(tmp_path, episode):
    return recorder_notes(LocalStore(tmp_path), episode.ref, episode.write(tmp_path))


def test_shams_look_alikes_and_block_are_read_and_other_keys_ignored(tmp_path):
    episode = MadeEpisode()
    episode.meta["recording"] = {
        "block": 3,
        "shams": [{"phase": "armed", "t_wall_ns": 5}],
        "backgrounds": [{"activity": "backup", "began_ns": 2, "ended_ns": 9}],
        "number": 17,
    }

    assert notes_of(tmp_path, episode) == RecorderNotes(
        block=3,
        shams=(Sham(phase="armed", t_wall_ns=5),),
        backgrounds=(LookAlike(activity="backup", began_ns=2, ended_ns=9),),
    )


def test_a_store_of_another_recorder_has_no_notes(tmp_path):
    assert notes_of(tmp_path, MadeEpisode()) is None


@pytest.mark.parametrize("meta", [None, b"no JSON", b"[]"])
def test_an_unreadable_meta_has_no_notes(tmp_path, meta):
    assert notes_of(tmp_path, MadeEpisode(raw={"meta.json": meta})) is None


def test_an_episode_that_is_gone_has_no_notes(tmp_path):
    assert recorder_notes(LocalStore(tmp_path), REF, None) is None


@pytest.mark.parametrize(
    "section", ["7", {"block": 0}, {"shams": [{"phase": "asleep", "t_wall_ns": 5}]}]
)
def test_notes_of_another_form_name_episode_and_key(tmp_path, section):
    episode = MadeEpisode()
    episode.meta["recording"] = section

    with pytest.raises(StoreError, match=f"{REF}: meta.json has a section `recording` of another"):
        notes_of(tmp_path, episode)
