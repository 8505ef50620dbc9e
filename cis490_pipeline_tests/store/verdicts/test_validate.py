"""Every reason code of the episode format, from an episode with exactly that fault."""

import dataclasses
from pathlib import Path

import pytest

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.validate import VALIDATION_SCHEMA, validate_episode
from cis490_pipeline_tests.store.episodes import REF, T0_NS, MadeEpisode, jsonl
from cis490_pipeline_tests.store.faults import (
    HARMLESS,
    SCHEMA_FAULTS,
    TELEMETRY_FAULTS,
    Fault,
    falls_alone,
    has_late_event,
    has_other_prefix,
    is_flat,
    is_in,
    keep_rows,
    links,
    meta_says,
    restarts,
    rows_go_back,
    stops,
)


@pytest.mark.parametrize(("reason", "fault"), SCHEMA_FAULTS + TELEMETRY_FAULTS)
def test_each_fault_gets_exactly_its_reason(tmp_path: Path, reason: str, fault: Fault) -> None:
    episode = MadeEpisode()
    fault(episode)
    row = episode.write(tmp_path)

    verdict = validate_episode(LocalStore(tmp_path), REF, row)

    assert verdict["reasons"] == [reason], verdict["details"]
    assert verdict["status"] == Reason(reason).verdict
    assert all(text.startswith(f"{reason}: ") for text in verdict["details"])


@pytest.mark.parametrize("change", HARMLESS)
def test_what_the_format_allows_is_accepted(tmp_path: Path, change: Fault) -> None:
    episode = MadeEpisode()
    change(episode)
    row = episode.write(tmp_path)

    verdict = validate_episode(LocalStore(tmp_path), REF, row)

    assert (verdict["status"], verdict["details"]) == ("accepted", [])


def test_another_folder_prefix_makes_every_member_unsafe(tmp_path: Path) -> None:
    episode = MadeEpisode()
    has_other_prefix(episode)

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert "unsafe_member" in verdict["reasons"]
    assert verdict["status"] == "rejected"


def test_wrong_digest_ends_the_check(tmp_path: Path) -> None:
    row = dataclasses.replace(MadeEpisode(labels=[]).write(tmp_path), sha256="0" * 64)

    assert validate_episode(LocalStore(tmp_path), REF, row)["reasons"] == ["sha256_mismatch"]


def test_cut_archive_ends_the_check(tmp_path: Path) -> None:
    row = dataclasses.replace(MadeEpisode(labels=[]).write(tmp_path), sha256=None)
    path = LocalStore(tmp_path).archive_path(REF)
    path.write_bytes(path.read_bytes()[:-200])

    assert set(validate_episode(LocalStore(tmp_path), REF, row)["reasons"]) == {
        "archive_corrupt",
        "unsealed",
    }


def test_faults_of_several_kinds_accumulate(tmp_path: Path) -> None:
    episode = MadeEpisode()
    for fault in (restarts, has_late_event, meta_says("schema_version", 2), rows_go_back, links):
        fault(episode)

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    # The counter's fall is not judged: in rows out of order it means nothing.
    assert verdict["reasons"] == [
        "label_unjustified",
        "rows_not_monotonic",
        "schema_version",
        "unsafe_member",
    ]


@pytest.mark.parametrize(
    ("seconds", "reasons"),
    [
        (6.0, ["too_few_rows", "too_short"]),
        (-1.0, ["too_few_rows", "too_short"]),
        (9.8, ["too_few_rows", "too_short"]),
        (10.0, ["too_few_rows"]),
        (15.0, ["too_few_rows"]),
    ],
)
def test_an_episode_without_a_whole_window_of_proc_rows_is_also_too_short(
    tmp_path: Path, seconds: float, reasons: list[str]
) -> None:
    episode = MadeEpisode()
    stops(Source.PROC, seconds)(episode)

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert verdict["reasons"] == reasons
    assert verdict["status"] == "rejected"


def test_a_fall_names_field_time_and_size(tmp_path: Path) -> None:
    episode = MadeEpisode()
    falls_alone(Source.GUEST, 1000)(episode)
    rows = episode.rows[Source.GUEST]
    before, after = rows[9]["cpu_user"], rows[10]["cpu_user"]
    at_s = (rows[10]["t_wall_ns"] - T0_NS) / NS_PER_S

    (detail,) = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))["details"]

    assert detail == (
        f"counter_fell: guest: cpu_user fell by {before - after} at {at_s:.1f} s "
        f"({before} to {after})"
    )


@pytest.mark.parametrize(
    ("unit_ns", "name"),
    [(NS_PER_S, "seconds"), (1_000_000, "milliseconds"), (1000, "microseconds")],
)
def test_times_in_another_unit_are_named(tmp_path: Path, unit_ns: int, name: str) -> None:
    episode = MadeEpisode()
    is_in(Source.NETFLOW, unit_ns)(episode)

    (detail,) = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))["details"]

    assert detail.startswith(f"clock_skew: netflow: t_wall_ns looks like {name}: ")


def test_readings_that_are_thinned_or_negative_are_noted_and_no_fault(tmp_path: Path) -> None:
    episode = MadeEpisode()
    rows = episode.rows[Source.GUEST]
    more = [
        row | {k: row[k] + j * NS_PER_S // 10 for k in ("t_wall_ns", "t_mono_ns")}
        for row in rows
        for j in range(10)
    ]
    episode.rows[Source.GUEST] = [row for row in more if row["t_wall_ns"] <= rows[-1]["t_wall_ns"]]
    episode.meta["result"]["rows_guest"] = len(episode.rows[Source.GUEST])
    episode.rows[Source.NETFLOW][7]["udp_pkts"] = -1

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert verdict["status"] == "accepted"
    negative, thinned = verdict["details"]
    assert negative == "note: netflow.udp_pkts: 1 negative readings are unknown"
    assert thinned.startswith("note: guest: ")
    assert thinned.endswith(", the last in each second")


def test_an_unfinished_run_lacks_members_and_no_source(tmp_path: Path) -> None:
    episode = MadeEpisode(raw={"done.marker": None, "netflow.jsonl": None})

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert verdict["reasons"] == ["missing_member", "unfinished"]


def test_archive_without_an_index_row_is_not_indexed(tmp_path: Path) -> None:
    MadeEpisode().write(tmp_path)

    assert validate_episode(LocalStore(tmp_path), REF, None)["reasons"] == ["not_indexed"]


def test_index_row_without_a_file_is_missing_member(tmp_path: Path) -> None:
    row = MadeEpisode().write(tmp_path)
    LocalStore(tmp_path).archive_path(REF).unlink()

    assert validate_episode(LocalStore(tmp_path), REF, row)["reasons"] == ["missing_member"]


def test_index_row_of_another_format_is_schema_version(tmp_path: Path) -> None:
    row = dataclasses.replace(MadeEpisode().write(tmp_path), schema_version=2)

    assert validate_episode(LocalStore(tmp_path), REF, row)["reasons"] == ["schema_version"]


def test_unpacked_folder_is_unsealed_and_nothing_else(tmp_path: Path) -> None:
    row = MadeEpisode().write_folder(tmp_path)

    verdict = validate_episode(LocalStore(tmp_path), REF, row)

    assert (verdict["status"], verdict["reasons"]) == ("degraded", ["unsealed"])


def test_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    row = MadeEpisode().write_folder(tmp_path)
    labels = tmp_path / "episodes" / REF.host_id / REF.episode_id / "labels.jsonl"
    labels.rename(tmp_path / "elsewhere")
    labels.symlink_to(tmp_path / "elsewhere")

    reasons = validate_episode(LocalStore(tmp_path), REF, row)["reasons"]

    assert reasons == ["missing_member", "unsafe_member", "unsealed"]


def test_an_error_of_the_file_system_says_nothing_of_the_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = MadeEpisode().write(tmp_path)

    def fail(_path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cis490_pipeline.store.archive.unpack.stream_sha256", fail)
    verdict = validate_episode(LocalStore(tmp_path), REF, row)

    assert (verdict["status"], verdict["reasons"]) == ("errored", [])
    assert verdict["details"] == ["OSError: [Errno 5] Input/output error"]


def test_clean_only_episode_has_neither_profile_nor_flat_source(tmp_path: Path) -> None:
    episode = MadeEpisode(events=[])
    episode.labels = episode.labels[:1]
    episode.meta["sample"] = None
    is_flat(episode)

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert (verdict["status"], verdict["details"]) == ("accepted", [])
    assert verdict["profile"] is verdict["sample_name"] is None


def test_early_end_of_a_source_that_began_early_is_no_skew(tmp_path: Path) -> None:
    episode = MadeEpisode()
    keep_rows(Source.GUEST, lambda t_s: t_s < 12)(episode)
    early = episode.rows[Source.GUEST][0]
    episode.rows[Source.GUEST].insert(0, early | {"t_wall_ns": T0_NS - 3 * NS_PER_S})
    episode.meta["result"]["rows_guest"] += 1

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert verdict["reasons"] == ["source_short"]


def test_unknown_fields_are_reported_and_aliases_are_not(tmp_path: Path) -> None:
    episode = MadeEpisode()
    for row in episode.rows[Source.PROC]:
        row["threads"] = row.pop("num_threads")
        row["mood"] = "fine"

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    assert (verdict["status"], verdict["unknown_fields"]) == ("accepted", ["proc.mood"])


def test_every_reason_of_the_format_has_a_fault_here() -> None:
    archives = {"archive_corrupt", "archive_unsupported"}
    elsewhere = archives | {"sha256_mismatch", "not_indexed", "unsealed"}
    of_the_corpus = {"duplicate_content"}

    tested = {reason for reason, _ in SCHEMA_FAULTS + TELEMETRY_FAULTS}

    assert tested | elsewhere | of_the_corpus == {reason.value for reason in Reason}


def test_row_fault_is_named_by_file_line_and_field(tmp_path: Path) -> None:
    episode = MadeEpisode()
    episode.raw = {"netflow.jsonl": jsonl(episode.rows[Source.NETFLOW][:2]) + b'{"t_wall_ns": "x"}'}

    verdict = validate_episode(LocalStore(tmp_path), REF, episode.write(tmp_path))

    wanted = "row_schema: netflow.jsonl line 3: t_wall_ns: must be an integer, got 'x'"
    assert wanted in verdict["details"]


def test_a_verdict_has_the_columns_of_the_index(tmp_path: Path) -> None:
    verdict = validate_episode(LocalStore(tmp_path), REF, MadeEpisode().write(tmp_path))

    assert verdict.keys() == VALIDATION_SCHEMA.keys()
    assert verdict["duration_s"] == 20.0
    assert verdict["t0_wall_ns"] == T0_NS
    assert verdict["phases"] == ["clean", "armed", "infecting", "infected_running", "dormant"]
