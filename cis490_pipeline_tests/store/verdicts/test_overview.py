"""A store told to a person: counts that add up, and words for each finding."""

from pathlib import Path

import polars as pl
import pytest

from cis490_pipeline.cli.data.store_lines import store_lines
from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import EpisodeRef, Source
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.overview import Overview, counts_by_host, overview
from cis490_pipeline.store.verdicts.sweep import sweep
from cis490_pipeline_tests.store.episodes import (
    OTHER_REF,
    REF,
    MadeEpisode,
    make_meta,
    write_index,
)
from cis490_pipeline_tests.store.faults import keep_rows, labels_end_in

PI_REF = EpisodeRef("garage-pi", "01M81BARRCN7QZCM8VAFDHK0QZ")


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Verdicts on an accepted, a failed, and a clean-only episode without guest rows."""
    root = tmp_path_factory.mktemp("store")
    good, failed, clean = (
        MadeEpisode(ref, meta=make_meta(ref)) for ref in (REF, OTHER_REF, PI_REF)
    )
    labels_end_in("failed")(failed)
    clean.labels, clean.events = clean.labels[:1], []
    clean.meta["sample"] = None
    keep_rows(Source.GUEST, lambda _t_s: False)(clean)
    clean.rows[Source.QMP] = [row | {"mood": 1} for row in clean.rows[Source.QMP]]
    write_index(root, [episode.write(root) for episode in (good, failed, clean)])
    return sweep(LocalStore(root), None, SerialCompute()).frame


@pytest.fixture
def seen(frame: pl.DataFrame) -> Overview:
    return overview(frame)


def test_counts_add_up(seen: Overview) -> None:
    assert (seen.n_episodes, seen.n_usable, seen.n_scorable) == (3, 2, 2)
    assert seen.hosts == {"garage-pi": 1, "lab-nuc": 2}
    assert seen.profiles == {"(clean only)": 1, "low-and-slow": 2}
    assert seen.samples == {"heron": 2}
    assert seen.rows[Source.PROC] == 600
    assert seen.recorded_s == 60.0
    assert seen.unknown_fields == {"qmp.mood": 1}


def test_what_is_missing_is_named(seen: Overview) -> None:
    assert seen.episodes_without[Source.GUEST] == 1
    assert seen.profiles_never_run == {
        "garage-pi": ["low-and-slow"],
        "lab-nuc": ["(clean only)"],
    }


def test_each_reason_is_told_with_its_consequence_and_its_first_episode(seen: Overview) -> None:
    told = {line.what: line.found for line in store_lines(seen)}

    assert told["dropped: label_failed"] == (
        "1 episode: the run did not go as planned; first lab-nuc/01M81BARRCN7QZCM8VAFDHK0QY: "
        "labels.jsonl line 6: the run did not go as planned"
    )
    assert told["used, and counted: source_missing"].startswith("1 episode: one source recorded")
    assert told["usable"] == "2 of 3 episodes; 2 of them may be scored"
    assert told["fields of no channel"] == "qmp.mood in 1 episodes; they are not read"
    assert told["sources without a row"] == "guest in 1 of 3 episodes"


def test_only_what_could_not_be_checked_asks_for_action(
    seen: Overview, frame: pl.DataFrame
) -> None:
    broken = frame.with_columns(status=pl.lit("errored"), details=pl.lit(["OSError: gone"]))

    assert all(line.ok for line in store_lines(seen))
    told = [line for line in store_lines(overview(broken)) if not line.ok]
    assert [line.found for line in told] == [
        "3, first: garage-pi/01M81BARRCN7QZCM8VAFDHK0QZ: OSError: gone"
    ]


def test_counts_by_host_status_and_reason(frame: pl.DataFrame) -> None:
    assert counts_by_host(frame).rows() == [
        ("garage-pi", "degraded", "source_missing", 1),
        ("lab-nuc", "accepted", None, 1),
        ("lab-nuc", "rejected", "label_failed", 1),
    ]


def test_empty_store_can_be_told_too(frame: pl.DataFrame) -> None:
    told = {line.what: line.found for line in store_lines(overview(frame.clear()))}

    assert (told["hosts"], told["usable"]) == (
        "none",
        "0 of 0 episodes; 0 of them may be scored",
    )
    assert counts_by_host(frame.clear()).is_empty()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert len(reason.meaning) > 10


def test_listing_digest_sees_what_a_sweep_would_read_again(tmp_path: Path) -> None:
    write_index(tmp_path, [MadeEpisode().write(tmp_path)])
    digests = [LocalStore(tmp_path).listing_digest()]

    MadeEpisode(OTHER_REF, meta=make_meta(OTHER_REF)).write_folder(tmp_path)
    digests.append(LocalStore(tmp_path).listing_digest())
    folder = tmp_path / "episodes" / OTHER_REF.host_id / OTHER_REF.episode_id
    (folder / "done.marker").write_bytes(b"x")
    digests.append(LocalStore(tmp_path).listing_digest())
    write_index(tmp_path, [])
    digests.append(LocalStore(tmp_path).listing_digest())

    assert len(set(digests)) == 4
    assert LocalStore(tmp_path).listing_digest() == digests[-1]
    assert LocalStore(tmp_path / "none").listing_digest()
