"""What other recorders and older ones write is read for what it is, end to end."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.overview import unknown_field_counts
from cis490_pipeline.store.verdicts.sweep import sweep
from cis490_pipeline.store.verdicts.validate import validate_episode
from cis490_pipeline_tests.store.episodes import (
    OTHER_REF,
    REF,
    MadeEpisode,
    Row,
    jsonl,
    make_meta,
    write_index,
)
from cis490_pipeline_tests.store.faults import meta_lacks, meta_says

OPTIONAL = [channel for channel in CHANNELS if channel.source is not Source.PROC]


def with_aliases(row: Row, source: Source) -> Row:
    names = {c.field: c.aliases[0] for c in CHANNELS if c.source is source and c.aliases}
    return {names.get(name, name): value for name, value in row.items()}


def judged(tmp_path: Path, episode: MadeEpisode) -> dict[str, Any]:
    return validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))


def test_other_recorders_names_give_the_same_episode(tmp_path: Path) -> None:
    ours, theirs = MadeEpisode(), MadeEpisode(OTHER_REF, meta=make_meta(OTHER_REF))
    for source in Source:
        theirs.rows[source] = [with_aliases(row, source) for row in theirs.rows[source]]
    rows = [ours.write(tmp_path), theirs.write(tmp_path)]
    store = LocalStore(tmp_path)
    write_index(tmp_path, rows)

    frame = sweep(store, None, SerialCompute()).frame
    first, second = (load_episode(store, row.ref, row) for row in rows)

    assert frame["status"].to_list() == ["accepted", "accepted"]
    assert frame["unknown_fields"].to_list() == [[], []]
    assert all(first.rows[source].equals(second.rows[source]) for source in Source)


def test_recorder_that_changes_a_name_midway_is_read_through(tmp_path: Path) -> None:
    episode = MadeEpisode()
    rows = episode.rows[Source.PROC]
    episode.rows[Source.PROC] = rows[:100] + [with_aliases(r, Source.PROC) for r in rows[100:]]

    row = episode.write(tmp_path)
    loaded = load_episode(LocalStore(tmp_path), REF, row).rows[Source.PROC]

    assert validate_episode(LocalStore(tmp_path), REF, row)["status"] == "accepted"
    assert loaded["cpu_user_jiffies"].to_list() == [r["cpu_user_jiffies"] for r in rows]


@pytest.mark.parametrize("how", ["absent", "null"])
@pytest.mark.parametrize("source", list(Source))
def test_optional_field_that_is_not_recorded_is_no_fault(
    tmp_path: Path, source: Source, how: str
) -> None:
    episode = MadeEpisode()
    fields = [channel.field for channel in CHANNELS if channel.source is source][1:]
    for row in episode.rows[source]:
        for name in (*fields, "t_mono_ns", "source", "available_in_deployment"):
            if how == "null":
                row[name] = None
            else:
                del row[name]

    verdict = judged(tmp_path, episode)

    assert (verdict["status"], verdict["details"]) == ("accepted", [])


def test_unknown_fields_are_told_once_a_store_with_how_many_episodes_have_them(
    tmp_path: Path,
) -> None:
    rows = []
    for ref, names in ((REF, ["mood", "tempo"]), (OTHER_REF, ["mood"])):
        episode = MadeEpisode(ref, meta=make_meta(ref), raw={"stderr.log": b"x"})
        for row in episode.rows[Source.GUEST]:
            row.update(dict.fromkeys(names, 1))
        rows.append(episode.write(tmp_path))
    write_index(tmp_path, rows)

    frame = sweep(LocalStore(tmp_path), None, SerialCompute()).frame

    assert unknown_field_counts(frame) == {"guest.mood": 2, "guest.tempo": 1}


def test_rows_that_came_late_and_in_lumps_are_judged_by_when_they_were_read(
    tmp_path: Path,
) -> None:
    """The agent's own clock jumps as lumps arrive; t_wall_ns is the time of the reading."""
    episode = MadeEpisode()
    for k, row in enumerate(episode.rows[Source.GUEST]):
        arrived_s = (k // 5 + 1) * 5
        row.update(t_mono_ns=arrived_s * NS_PER_S, t_guest_wall_ns=10**18 + k, lump=k // 5)
        row["t_guest_mono_ns"] = -k

    verdict = judged(tmp_path, episode)

    assert (verdict["status"], verdict["unknown_fields"]) == ("accepted", ["guest.lump"])


def test_rows_stamped_with_one_time_a_lump_are_kept_but_their_pauses_are_found(
    tmp_path: Path,
) -> None:
    episode = MadeEpisode()
    for k, row in enumerate(episode.rows[Source.GUEST]):
        row["t_wall_ns"] += (4 - k % 5) * NS_PER_S

    assert judged(tmp_path, episode)["reasons"] == ["source_gap", "source_short"]


def test_meta_of_another_version_is_that_and_not_of_a_faulty_schema(tmp_path: Path) -> None:
    """An older meta.json lacks what format 1 has; format 1's rules are not held against it."""
    episode = MadeEpisode()
    episode.meta = {"schema_version": 0, "episode": REF.episode_id}

    assert judged(tmp_path, episode)["reasons"] == ["schema_version"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (meta_lacks("schema_version"), "meta_schema"),
        (meta_says("schema_version", "1"), "meta_schema"),
        (meta_says("schema_version", 1.0), "meta_schema"),
        (meta_says("schema_version", True), "meta_schema"),
        (meta_says("schema_version", 2**70), "schema_version"),
        (meta_says("ended_at_wall", "2300-01-01T00:00:00Z"), "meta_schema"),
        (meta_says("started_at_wall", "0001-01-01T00:00:00Z"), "meta_schema"),
        (meta_says("started_at_wall", "9999-12-31T23:59:59Z"), "meta_schema"),
        (meta_says("started_at_wall", "1969-12-31T23:59:59Z"), "meta_schema"),
        (meta_says("host_id", "x" * 10_000), "id_mismatch"),
    ],
)
def test_odd_meta_has_a_defined_outcome(tmp_path: Path, change: Any, reason: str) -> None:
    episode = MadeEpisode()
    change(episode)

    assert judged(tmp_path, episode)["reasons"] == [reason]


@pytest.mark.parametrize(
    ("member", "reasons"),
    [
        ("meta.json", []),
        ("labels.jsonl", []),
        ("events.jsonl", []),
        ("netflow.jsonl", []),
    ],
)
def test_lines_may_end_in_crlf(tmp_path: Path, member: str, reasons: list[str]) -> None:
    content = MadeEpisode().members()[member].replace(b"\n", b"\r\n")

    assert judged(tmp_path, MadeEpisode(raw={member: content}))["reasons"] == reasons


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("meta.json", "meta_schema"),
        ("labels.jsonl", "labels_schema"),
        ("events.jsonl", "row_schema"),
        ("netflow.jsonl", "row_schema"),
    ],
)
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\0"], ids=["utf8", "utf16", "0"])
def test_byte_order_mark_is_a_fault(tmp_path: Path, member: str, reason: str, mark: bytes) -> None:
    content = mark + MadeEpisode().members()[member]

    verdict = judged(tmp_path, MadeEpisode(raw={member: content}))

    assert reason in verdict["reasons"]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("labels.jsonl", "labels_schema"),
        ("events.jsonl", "row_schema"),
        ("netflow.jsonl", "row_schema"),
    ],
)
def test_torn_last_line_is_a_fault_of_that_line(tmp_path: Path, member: str, reason: str) -> None:
    content = MadeEpisode().members()[member]
    n_lines = content.count(b"\n")

    verdict = judged(tmp_path, MadeEpisode(raw={member: content[:-10]}))

    assert reason in verdict["reasons"]
    assert any(f"{member} line {n_lines}" in text for text in verdict["details"])


def test_last_line_without_a_line_feed_is_whole(tmp_path: Path) -> None:
    members = MadeEpisode().members()
    raw: dict[str, bytes | None] = {
        name: members[name].rstrip(b"\n") for name in ("netflow.jsonl", "labels.jsonl")
    }

    assert judged(tmp_path, MadeEpisode(raw=raw))["status"] == "accepted"


def test_up_to_20_faulty_rows_of_an_episode_are_named(tmp_path: Path) -> None:
    episode = MadeEpisode()
    for source in Source:
        for row in episode.rows[source][:15]:
            row["t_mono_ns"] = "5"

    details = judged(tmp_path, episode)["details"]

    assert len([text for text in details if text.startswith("row_schema: ")]) == 20
    assert "row_schema: telemetry-qmp.jsonl line 5: t_mono_ns: must be an integer, got '5'" in (
        details
    )


def test_times_at_the_ends_of_64_bits_go_back_and_not_round(tmp_path: Path) -> None:
    episode = MadeEpisode()
    episode.rows[Source.QMP][5]["t_wall_ns"] = 2**63 - 1
    episode.rows[Source.QMP][6]["t_wall_ns"] = -(2**63)

    assert judged(tmp_path, episode)["reasons"] == ["rows_not_monotonic"]


@pytest.mark.parametrize("t_wall_ns", [2**63, -1, 0, 1.5, 10**30])
def test_time_of_a_label_is_a_unix_time_of_64_bits(tmp_path: Path, t_wall_ns: float) -> None:
    episode = MadeEpisode()
    episode.labels[0]["t_wall_ns"] = t_wall_ns

    assert judged(tmp_path, episode)["reasons"] == ["labels_schema"]


def test_text_no_file_can_hold_is_a_fault_and_not_a_crash(tmp_path: Path) -> None:
    episode = MadeEpisode()
    content = jsonl(episode.rows[Source.NETFLOW]).replace(b'"dst_ips"', b'"\\ud800"', 1)

    verdict = judged(tmp_path, MadeEpisode(raw={"netflow.jsonl": content}))

    assert verdict["reasons"] == ["row_schema"]
    assert "half a surrogate pair" in verdict["details"][0]
    pl.DataFrame([verdict])
