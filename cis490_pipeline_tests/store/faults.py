"""Ways to spoil a made-up episode, each with the one reason it must get."""

import tarfile
from collections.abc import Callable

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Kind, Source
from cis490_pipeline_tests.store.episodes import OTHER_REF, REF, T0_NS, MadeEpisode, wall

Fault = Callable[[MadeEpisode], None]


def links(episode: MadeEpisode) -> None:
    link = tarfile.TarInfo("stderr.log")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    episode.tar_entries = [(link, b"")]


def escapes(episode: MadeEpisode) -> None:
    episode.tar_entries = [(tarfile.TarInfo("../stderr.log"), b"")]


def comes_twice(episode: MadeEpisode) -> None:
    episode.tar_entries = [(tarfile.TarInfo("./meta.json"), b"")]


def is_a_device(episode: MadeEpisode) -> None:
    device = tarfile.TarInfo("stderr.log")
    device.type = tarfile.CHRTYPE
    episode.tar_entries = [(device, b"")]


def has_other_prefix(episode: MadeEpisode) -> None:
    episode.prefix = f"{OTHER_REF.episode_id}/"


def has_65_members(episode: MadeEpisode) -> None:
    episode.raw = {f"note-{k}.txt": b"" for k in range(57)}


def lacks(member: str) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        episode.raw = {member: None}

    return fault


def never_ended(episode: MadeEpisode) -> None:
    episode.raw = {"done.marker": None}
    episode.meta |= {"ended_at_wall": None, "result": None, "git_commit": None}


def meta_says(key: str, value: object) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        episode.meta[key] = value

    return fault


def meta_lacks(key: str) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        del episode.meta[key]

    return fault


def result_says(key: str, value: object) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        episode.meta["result"][key] = value

    return fault


def meta_key_twice(episode: MadeEpisode) -> None:
    episode.raw = {"meta.json": b'{"schema_version": 1, "schema_version": 1}'}


def member_is(member: str, content: bytes) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        episode.raw = {member: content}

    return fault


def label_says(position: int, key: str, value: object) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        episode.labels[position][key] = value

    return fault


def labels_end_in(phase: str) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        last = episode.labels[-1]
        episode.labels.append(
            last | {"phase": phase, "prev": "dormant", "t_wall_ns": T0_NS + 20 * NS_PER_S}
        )

    return fault


def label_goes_back(episode: MadeEpisode) -> None:
    episode.labels[1]["t_wall_ns"] = T0_NS + 15 * NS_PER_S
    episode.events[0]["t_wall_ns"] = T0_NS + 15 * NS_PER_S


def label_after_the_end(episode: MadeEpisode) -> None:
    episode.labels[-1]["t_wall_ns"] += 10 * NS_PER_S
    episode.events[-1]["t_wall_ns"] += 10 * NS_PER_S


def row_says(source: Source, key: str, value: object) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        episode.rows[source][5][key] = value

    return fault


def row_lacks_time(episode: MadeEpisode) -> None:
    del episode.rows[Source.GUEST][5]["t_wall_ns"]


def event_is_no_event(episode: MadeEpisode) -> None:
    episode.events.append({"event": 3, "t_mono_ns": 0, "t_wall_ns": T0_NS})


def rows_go_back(episode: MadeEpisode) -> None:
    rows = episode.rows[Source.QMP]
    rows[5]["t_wall_ns"], rows[6]["t_wall_ns"] = rows[6]["t_wall_ns"], rows[5]["t_wall_ns"]


def keep_rows(source: Source, wanted: Callable[[float], bool]) -> Fault:
    """Keep rows by seconds since the first label, and let meta count what is left."""

    def fault(episode: MadeEpisode) -> None:
        episode.rows[source] = [
            row for row in episode.rows[source] if wanted((row["t_wall_ns"] - T0_NS) / NS_PER_S)
        ]
        episode.meta["result"][f"rows_{source}"] = len(episode.rows[source])

    return fault


def lasts_9_s(episode: MadeEpisode) -> None:
    for source in Source:
        keep_rows(source, lambda t_s: t_s <= 9.0)(episode)
    episode.labels, episode.events = episode.labels[:1], []
    episode.meta["ended_at_wall"] = wall(T0_NS + 9 * NS_PER_S)
    episode.meta["result"]["duration_observed_s"] = 9.0


def stops(source: Source, seconds: float) -> Fault:
    return keep_rows(source, lambda t_s: t_s <= seconds)


def shifts(source: Source, seconds: float) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        for row in episode.rows[source]:
            row["t_wall_ns"] += round(seconds * NS_PER_S)

    return fault


def is_flat(episode: MadeEpisode) -> None:
    for channel in CHANNELS:
        for k, row in enumerate(episode.rows[channel.source]):
            row[channel.field] = 7 * k if channel.kind is Kind.COUNTER else 7


def _counters(source: Source) -> list[str]:
    return [c.field for c in CHANNELS if c.source is source and c.kind is Kind.COUNTER]


def restarts(episode: MadeEpisode) -> None:
    rows = episode.rows[Source.QMP]
    for name in _counters(Source.QMP):
        stood = rows[9][name]
        for row in rows[10:]:
            row[name] -= stood


def falls_alone(source: Source, by: int) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        name = _counters(source)[0]
        for row in episode.rows[source]:
            row[name] += 10**6
        for row in episode.rows[source][10:]:
            row[name] -= by

    return fault


def reverts(episode: MadeEpisode) -> None:
    """All counters fall together, to where they stood long after zero."""
    for row in episode.rows[Source.GUEST][:10]:
        for name in _counters(Source.GUEST):
            row[name] += 10**7
    for row in episode.rows[Source.GUEST][10:]:
        for name in _counters(Source.GUEST):
            row[name] += 5 * 10**6


def comes_again(source: Source, n: int, after: int = 1) -> Fault:
    """Deliver the rows before the tenth once more, so many rows later."""

    def fault(episode: MadeEpisode) -> None:
        rows = episode.rows[source]
        episode.rows[source] = rows[: 10 + after - 1] + rows[10 - n : 10] + rows[10 + after - 1 :]
        episode.meta["result"][f"rows_{source}"] += n

    return fault


def is_in(source: Source, unit_ns: int) -> Fault:
    def fault(episode: MadeEpisode) -> None:
        for row in episode.rows[source]:
            row["t_wall_ns"] //= unit_ns

    return fault


def says_nothing(source: Source, wanted: Callable[[float], bool]) -> Fault:
    """Keep the rows, with nothing but their times where it is not wanted."""

    def fault(episode: MadeEpisode) -> None:
        for row in episode.rows[source]:
            if not wanted((row["t_wall_ns"] - T0_NS) / NS_PER_S):
                for channel in CHANNELS:
                    if channel.source is source:
                        row[channel.field] = None

    return fault


def has_late_event(episode: MadeEpisode) -> None:
    episode.events[0]["t_wall_ns"] += 2 * NS_PER_S + 1


def has_wrong_event(episode: MadeEpisode) -> None:
    episode.events[0]["event"] = "workload_killed"


SCHEMA_FAULTS: list[tuple[str, Fault]] = [
    ("unsafe_member", links),
    ("unsafe_member", escapes),
    ("unsafe_member", comes_twice),
    ("unsafe_member", is_a_device),
    ("member_too_large", has_65_members),
    *[
        ("missing_member", lacks(name))
        for name in ("meta.json", "labels.jsonl", "events.jsonl", Source.PROC.member)
    ],
    ("unfinished", lacks("done.marker")),
    ("unfinished", never_ended),
    ("meta_schema", meta_lacks("vm")),
    ("meta_schema", meta_says("vm", "small")),
    ("meta_schema", meta_says("started_at_wall", "2026-11-22T10:00:00")),
    ("meta_schema", meta_says("ended_at_wall", None)),
    ("meta_schema", meta_says("result", None)),
    ("meta_schema", meta_says("episode_id", 5)),
    ("meta_schema", result_says("duration_observed_s", 25.0)),
    ("meta_schema", meta_key_twice),
    ("meta_schema", member_is("meta.json", b'{"episode_id": NaN}')),
    ("meta_schema", member_is("meta.json", b"[" * 100_000)),
    ("schema_version", meta_says("schema_version", 2)),
    ("id_mismatch", meta_says("episode_id", OTHER_REF.episode_id)),
    ("id_mismatch", meta_says("host_id", "garage-pi")),
    ("labels_empty", member_is("labels.jsonl", b"")),
    ("labels_schema", member_is("labels.jsonl", b'{"phase": "clean"}\n')),
    ("labels_schema", label_says(2, "t_wall_ns", "noon")),
    ("unknown_phase", labels_end_in("asleep")),
    ("labels_not_monotonic", label_goes_back),
    ("labels_not_monotonic", label_after_the_end),
    ("labels_chain", label_says(2, "prev", "clean")),
    ("labels_chain", label_says(0, "prev", "dormant")),
    ("label_failed", labels_end_in("failed")),
    ("row_schema", row_says(Source.PROC, "rss_bytes", 5.0)),
    ("row_schema", row_says(Source.GUEST, "load_1m", float("nan"))),
    ("row_schema", row_says(Source.NETFLOW, "source", "host_proc")),
    ("row_schema", row_lacks_time),
    ("row_schema", event_is_no_event),
    ("rows_not_monotonic", rows_go_back),
    ("too_few_rows", keep_rows(Source.PROC, lambda t_s: t_s % 1.0 < 0.65)),
    ("too_short", lasts_9_s),
]

TELEMETRY_FAULTS: list[tuple[str, Fault]] = [
    *[
        ("source_missing", keep_rows(s, lambda _t_s: False))
        for s in (Source.QMP, Source.GUEST, Source.NETFLOW)
    ],
    *[("source_missing", lacks(s.member)) for s in (Source.QMP, Source.GUEST, Source.NETFLOW)],
    ("source_missing", says_nothing(Source.GUEST, lambda _t_s: False)),
    ("source_short", says_nothing(Source.GUEST, lambda t_s: t_s <= 10)),
    ("source_gap", says_nothing(Source.NETFLOW, lambda t_s: not 5 < t_s < 8.5)),
    ("too_few_rows", says_nothing(Source.PROC, lambda t_s: t_s % 1.0 < 0.65)),
    ("clock_skew", is_in(Source.NETFLOW, 1_000_000)),
    ("clock_skew", is_in(Source.GUEST, 1000)),
    ("clock_skew", is_in(Source.QMP, NS_PER_S)),
    ("clock_skew", is_in(Source.NETFLOW, NS_PER_S)),
    ("clock_skew", is_in(Source.PROC, 1_000_000)),
    ("clock_skew", shifts(Source.NETFLOW, -7200)),
    ("clock_skew", shifts(Source.PROC, -5)),
    ("source_short", keep_rows(Source.GUEST, lambda t_s: t_s <= 10)),
    ("source_short", keep_rows(Source.QMP, lambda t_s: t_s % 3 > 0)),
    ("source_short", keep_rows(Source.NETFLOW, lambda t_s: t_s > 10)),
    ("source_gap", keep_rows(Source.GUEST, lambda t_s: not 5 < t_s < 8.5)),
    ("source_gap", keep_rows(Source.NETFLOW, lambda t_s: t_s < 16.9)),
    ("source_gap", keep_rows(Source.PROC, lambda t_s: t_s > 3.1)),
    ("clock_skew", shifts(Source.GUEST, -5)),
    ("clock_skew", shifts(Source.NETFLOW, 2.2)),
    ("clock_skew", shifts(Source.QMP, 3600)),
    ("source_flat", is_flat),
    ("counter_reset", restarts),
    *[("counter_fell", falls_alone(s, 1000)) for s in (Source.PROC, Source.QMP, Source.GUEST)],
    ("counter_fell", falls_alone(Source.GUEST, 900_000)),
    ("counter_fell", reverts),
    *[("rows_repeated", comes_again(s, 1)) for s in Source],
    ("rows_repeated", comes_again(Source.NETFLOW, 8)),
    ("rows_repeated", comes_again(Source.NETFLOW, 8, after=5)),
    ("label_unjustified", member_is("events.jsonl", b"")),
    ("label_unjustified", has_late_event),
    ("label_unjustified", has_wrong_event),
    ("row_count_mismatch", result_says("rows_guest", 19)),
    ("row_count_mismatch", member_is("telemetry-perf.jsonl", b"{}\n")),
    ("code_dirty", meta_says("code_version", {"commit": None, "dirty": True})),
]

HARMLESS: list[Fault] = [
    lambda _episode: None,
    lambda episode: setattr(episode, "prefix", "./"),
    lambda episode: setattr(episode, "prefix", f"{REF.episode_id}/"),
    member_is("stderr.log", b"said\n"),
    meta_says("weather", {"sunny": True}),
    meta_says("sample", None),
    meta_lacks("code_version"),
    shifts(Source.GUEST, 1.9),
    shifts(Source.NETFLOW, -1.9),
    keep_rows(Source.GUEST, lambda t_s: not 5 < t_s < 8),
    keep_rows(Source.PROC, lambda t_s: t_s % 1.0 < 0.75),
    row_says(Source.GUEST, "cpu_iowait", 10**9),
    row_says(Source.GUEST, "mem_dirty_bytes", None),
    row_says(Source.PROC, "rss_bytes", 2**53 + 1),
    # A row of the same time that says something else is a row of its own.
    row_says(Source.NETFLOW, "t_wall_ns", T0_NS + 500_000_000),
    row_says(Source.PROC, "t_wall_ns", T0_NS + 500_000_000),
]
