"""Made-up corpora for the split tests."""

import polars as pl

from cis490_pipeline.splits.split import EPISODE_SCHEMA

PROFILES = ("cpu-saturate", "io-walk", "scan-and-dial")


def corpus(hosts, n_samples=5, n_runs=2, n_clean=4, start=0):
    """Every host runs every sample of every profile `n_runs` times, and `n_clean` clean runs."""
    rows = []
    for host in hosts:
        for profile in PROFILES:
            for sample in range(n_samples):
                rows += [row(host, profile, f"{profile}-{sample}") for _ in range(n_runs)]
        rows += [row(host, None, None) for _ in range(n_clean)]
    for i, episode in enumerate(rows):
        episode["episode_id"] = f"01EP{start + i:06d}"
        hour = start + i
        episode["received_at_wall"] = f"2026-{1 + hour // 600:02d}-{1 + hour // 24 % 25:02d}"
        episode["received_at_wall"] += f"T{hour % 24:02d}:00:00Z"
    return pl.DataFrame(rows, schema=EPISODE_SCHEMA)


def row(host, profile, sample):
    return {
        "episode_id": "",
        "host_id": host,
        "profile": profile,
        "sample_name": sample,
        "received_at_wall": "",
        "scorable": True,
        "baseline_clean": True,
    }


def sides_of(split):
    return dict(split.assignment.select("episode_id", "side").iter_rows())


def marked(episodes, column, positions, value=False):
    flags = episodes[column].to_list()
    for position in positions:
        flags[position] = value
    return episodes.with_columns(pl.Series(column, flags, dtype=episodes.schema[column]))
