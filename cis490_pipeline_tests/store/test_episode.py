import dataclasses
from pathlib import Path

import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.errors import EpisodeRejectedError
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline_tests.store.episodes import REF, T0_NS, MadeEpisode


def test_loaded_episode_has_its_rows_labels_and_time(tmp_path: Path) -> None:
    row = MadeEpisode().write(tmp_path)

    episode = load_episode(LocalStore(tmp_path), REF, row)

    assert (episode.t0_ns, episode.end_ns) == (T0_NS, T0_NS + 20 * NS_PER_S)
    assert [label.phase for label in episode.labels[:2]] == ["clean", "armed"]
    assert {source: frame.height for source, frame in episode.rows.items()} == {
        Source.PROC: 200,
        Source.QMP: 20,
        Source.GUEST: 20,
        Source.NETFLOW: 200,
    }
    assert episode.sha256 == row.sha256


def test_end_of_the_episode_is_exact_to_the_microsecond(tmp_path: Path) -> None:
    made = MadeEpisode()
    made.meta["ended_at_wall"] = "2026-11-22T10:04:11.358189Z"
    made.meta["result"]["duration_observed_s"] = (1_795_341_851_358_189_000 - T0_NS) / NS_PER_S

    episode = load_episode(LocalStore(tmp_path), REF, made.write(tmp_path))

    assert episode.end_ns == 1_795_341_851_358_189_000


def test_folder_is_known_by_the_digest_of_its_telemetry(tmp_path: Path) -> None:
    made = MadeEpisode()
    packed = load_episode(LocalStore(tmp_path / "a"), REF, made.write(tmp_path / "a"))
    loose = load_episode(LocalStore(tmp_path / "b"), REF, made.write_folder(tmp_path / "b"))

    assert len(loose.sha256) == len(packed.sha256) == 64
    assert loose.sha256 != packed.sha256


def test_what_only_degrades_does_not_keep_from_loading(tmp_path: Path) -> None:
    made = MadeEpisode(events=[])
    made.rows[Source.QMP] = []

    episode = load_episode(LocalStore(tmp_path), REF, made.write(tmp_path))

    assert episode.rows[Source.QMP].height == 0


def test_faulty_episode_is_refused_with_all_its_reasons(tmp_path: Path) -> None:
    made = MadeEpisode()
    made.raw = {"labels.jsonl": b"", "netflow.jsonl": b"x"}
    row = made.write(tmp_path)

    with pytest.raises(EpisodeRejectedError, match=r"netflow\.jsonl line 1") as refused:
        load_episode(LocalStore(tmp_path), REF, row)
    assert refused.value.reasons == ("labels_empty", "row_schema")


def test_changed_archive_is_refused(tmp_path: Path) -> None:
    row = dataclasses.replace(MadeEpisode().write(tmp_path), sha256="0" * 64)

    with pytest.raises(EpisodeRejectedError, match="the index says 0000") as refused:
        load_episode(LocalStore(tmp_path), REF, row)
    assert refused.value.reasons == ("sha256_mismatch",)
