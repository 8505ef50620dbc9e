"""Recorded controls, made up: noise at every label but for one channel's known step."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cis490_pipeline.domain import (
    CHANNELS,
    CLASS_INDEX,
    NS_PER_S,
    PHASES,
    EpisodeRef,
    Kind,
    Source,
)
from cis490_pipeline.evaluation.predictions import prediction_frame
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline_tests.store.episodes import T0_NS, MadeEpisode, make_meta, wall, write_index

LENGTH_S = 120
SHAMS_S = {40.3: "infecting", 58.1: "infected_running", 75.7: "clean", 92.2: "infecting"}
LOOK_ALIKES_S = ((20.0, 30.0), (96.0, 104.0))
"""The second begins beside the last sham."""
PAGE = 4096
Row = dict[str, Any]


def ns(t_s: float) -> int:
    return T0_NS + round(t_s * NS_PER_S)


def control(number: int, host: str = "kiosk", *, pages: int = 0, block: int = 1) -> MadeEpisode:
    """A sham-armed control in which ``top_rss_bytes`` steps by so many pages at each sham."""
    ref = EpisodeRef(host, f"01M81BARRCN7QZCM8VAFDH{number:04d}")
    meta = make_meta(ref)
    meta["sample"] = None
    meta["ended_at_wall"] = wall(ns(LENGTH_S))
    meta["result"]["duration_observed_s"] = float(LENGTH_S)
    meta["recording"] = {
        "block": block,
        "shams": [{"phase": phase, "t_wall_ns": ns(t_s)} for t_s, phase in SHAMS_S.items()],
        "backgrounds": [
            {"activity": "backup", "began_ns": ns(began_s), "ended_ns": ns(ended_s)}
            for began_s, ended_s in LOOK_ALIKES_S
        ],
    }
    label = {
        "phase": "clean",
        "prev": None,
        "reason": "recording started",
        "t_mono_ns": 0,
        "t_wall_ns": T0_NS,
    }
    rng = np.random.default_rng(number)
    rows = {source: _rows(source, rng, pages) for source in (Source.PROC, Source.GUEST)}
    return MadeEpisode(ref=ref, meta=meta, labels=[label], events=[], rows=rows)


def _rows(source: Source, rng: np.random.Generator, pages: int) -> list[Row]:
    rows: list[Row] = []
    counters = np.full(len(CHANNELS), 10_000)
    for k in range(1, round(LENGTH_S * source.rate_hz) + 1):
        t_s = k / source.rate_hz
        row: Row = {
            "t_wall_ns": ns(t_s),
            "t_mono_ns": round(t_s * NS_PER_S),
            "source": source.row_tag,
            "available_in_deployment": source.deployable,
        }
        counters += rng.integers(20, size=counters.size)
        for place, channel in enumerate(CHANNELS):
            if channel.source is not source:
                continue
            reading = 5_000_000 + int(rng.integers(-PAGE, PAGE))
            row[channel.field] = int(counters[place]) if channel.kind is Kind.COUNTER else reading
            if channel.field == "top_rss_bytes":
                row[channel.field] += pages * PAGE * sum(t_s >= sham_s for sham_s in SHAMS_S)
        rows.append(row)
    return rows


def predictions_of(episode: MadeEpisode) -> pl.DataFrame:
    """Predictions of a model that takes each sham of a control for what it would have been."""
    starts_s = np.arange(15, LENGTH_S - 10, 5)
    times, phases = list(SHAMS_S), ["clean", *SHAMS_S.values()]
    stretch = np.searchsorted(times, starts_s + 5, side="right")
    windows = pl.DataFrame(
        {
            "episode_id": episode.ref.episode_id,
            "host_id": episode.ref.host_id,
            "profile": pl.Series([None] * starts_s.size, dtype=pl.String),
            "sample_name": pl.Series([None] * starts_s.size, dtype=pl.String),
            "side": "val",
            "window_idx": starts_s // 5,
            "t_start_wall_ns": [ns(start_s) for start_s in starts_s],
            "t_end_wall_ns": [ns(start_s + 10) for start_s in starts_s],
            "purity": 1.0,
            "touches_baseline": False,
            "y_true": "clean",
        }
    )
    classes = [CLASS_INDEX[phases[k]] for k in stretch]
    return prediction_frame(windows, np.eye(len(PHASES))[classes])


def write_controls(root: Path, episodes: list[MadeEpisode]) -> None:
    """Write a store of these episodes with its index."""
    index: list[IndexRow] = [episode.write(root) for episode in episodes]
    write_index(root, index)
