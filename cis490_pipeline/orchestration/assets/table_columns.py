"""What the columns of the tables mean, as the catalog shows it."""

from typing import Final

from cis490_pipeline.domain import CHANNELS, Kind
from cis490_pipeline.features.history import LAGS_S, N_BINS

_COLUMNS: Final = {
    # Episodes: verdicts, sides, grids.
    "status": "Verdict: accepted, degraded, rejected, or errored if it could not be checked.",
    "reasons": "Codes of everything found, sorted.",
    "details": "The first findings in words, and notes.",
    "profile": "Behaviour that the recorded sample follows.",
    "sample_name": "Name of the recorded sample.",
    "sample_kind": "Kind of the recorded sample.",
    "host_id": "Device the episode was recorded on.",
    "episode_id": "Id of the episode (ULID).",
    "received_at_wall": "When the receiver got it, from its index.",
    "sha256": "SHA-256 of the archive as received; where there is none, of its content.",
    "content_digest": "SHA-256 of the content, which two archives of the same telemetry share.",
    **{f"rows_{source}": f"Rows of {source}." for source in ("proc", "qmp", "guest", "netflow")},
    "duration_s": "Length of the recording, s.",
    "phases": "Labelled phases, in order.",
    "t0_wall_ns": "Begin of the recording, Unix ns.",
    "end_wall_ns": "End of the recording, Unix ns.",
    "unknown_fields": "Fields that the format does not know.",
    "checked_at": "Begin of the sweep that made the verdict.",
    "vanished_at": "Begin of the first sweep that missed it; none while it is in the store.",
    "validator_version": "Version of the rules it was made by.",
    "input_key": "State of the files and the index row; another one is checked again.",
    "scorable": "Whether it may be scored, not only trained on.",
    "baseline_clean": "Whether the first 15 s are labelled clean.",
    "side": "Side of the split: train, val, test or excluded.",
    "why": "Why it is excluded.",
    "shard": "File with the grid.",
    "row_start": "First row of the grid in its file.",
    "n_steps": "Steps of the grid, of 0.1 s.",
    "label_t_wall_ns": "Begin of each labelled phase, Unix ns.",
    "label_phase": "The labelled phases, in order.",
    "baseline_median": "Median of each channel over the first 15 s.",
    "baseline_iqr": "Interquartile range of each channel over the first 15 s.",
    "grid_realistic": "SHA-256 of the channels that a device has.",
    "grid_oracle": "SHA-256 of all channels.",
    # Windows.
    "window_idx": "Number of the window in its episode, from 0.",
    "t_start_wall_ns": "Begin of the window, Unix ns.",
    "t_end_wall_ns": "End of the window, Unix ns.",
    "split": "Side of the split: train, val or test.",
    "y": "True phase, at the window's centre.",
    "purity": "Share of the window that has this phase.",
    "baseline": "Whether the window touches the first 15 s, which it is calibrated by.",
}
_STATISTICS: Final = {
    "mean": "Mean of log1p {}",
    "std": "Standard deviation of log1p {}",
    "p95": "95th percentile of log1p {}",
    "slope": "Least-squares slope of log1p {}, per second",
    "zero_fraction": "Share of the known steps at which this is exactly zero: {}",
    **{
        f"bin_{i + 1}": f"Linear mean over fifth {i + 1} of the window: {{}}" for i in range(N_BINS)
    },
    **{
        f"lag_{s}s": f"Linear mean of the 10 s that end {s} s before the window's end: {{}}"
        for s in LAGS_S
    },
}
_CHANNELS: Final = {channel.name: channel for channel in CHANNELS}


def described(column: str) -> str | None:
    """Return what a column means; None if nothing is known of it.

    >>> described("guest.load_1m:mean")
    'Mean of log1p guest.load_1m (processes).'
    """
    name, _, statistic = column.partition(":")
    channel = _CHANNELS.get(name)
    if channel is None or statistic not in _STATISTICS:
        return _COLUMNS.get(column)
    unit = channel.unit if channel.kind is Kind.GAUGE else f"{channel.unit} per second"
    return f"{_STATISTICS[statistic].format(f'{name} ({unit})')}."
