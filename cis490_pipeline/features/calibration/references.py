"""Calibration references: the episode's own baseline, or the record of its host."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.domain import Variant
from cis490_pipeline.domain.arrays import Float32s
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.calibration.calibrator import CalibrationMode
from cis490_pipeline.features.calibration.record import CalibrationRecord
from cis490_pipeline.features.channels import channel_indices

Records = Mapping[str, CalibrationRecord]
"""Calibration records by host."""


@dataclass(frozen=True, eq=False)
class CalibrationReferences:
    """Baselines that the windows of each episode are calibrated against.

    Attributes
    ----------
    row : (n_episodes,) index of each episode's reference in the other attributes.
    median, iqr : (n_references, n_channels).
    ids : identifier of each reference.
    suspect : whether its record may not be clean; None without a record.
    """

    row: npt.NDArray[np.intp]
    median: Float32s
    iqr: Float32s
    ids: tuple[str, ...]
    suspect: tuple[bool | None, ...]


def calibration_references(
    episodes: pl.DataFrame,
    baselines: npt.NDArray[np.void],
    variant: Variant,
    mode: CalibrationMode,
    records: Records | None,
) -> CalibrationReferences:
    """Select each episode's baseline: its own, or that of its host, depending on the mode.

    Parameters
    ----------
    episodes : one row per episode: episode_id, host_id.
    baselines : of the dataset, by episode.
    records : by host; only used in mode ``host_baseline``.

    Raises
    ------
    CalibrationError
        Naming the hosts without a record if the mode needs one.
    """
    if mode is CalibrationMode.HOST_BASELINE:
        return _hosts_of(episodes, variant, records or {})
    place = {str(episode_id): i for i, episode_id in enumerate(baselines["episode_id"])}
    episode_ids = episodes["episode_id"].to_list()
    chosen = baselines[[place[episode_id] for episode_id in episode_ids]]
    channels = channel_indices(variant)
    by_episode = mode is CalibrationMode.EPISODE_BASELINE
    return CalibrationReferences(
        np.arange(len(episode_ids)),
        chosen["median"][:, channels],
        chosen["iqr"][:, channels],
        tuple(f"episode:{name}" if by_episode else str(mode) for name in episode_ids),
        (None,) * len(episode_ids),
    )


def _hosts_of(episodes: pl.DataFrame, variant: Variant, records: Records) -> CalibrationReferences:
    hosts = list(dict.fromkeys(episodes["host_id"]))
    missing = sorted(set(hosts) - set(records))
    if missing:
        raise CalibrationError(
            f"no calibration record of {', '.join(missing)}: host_baseline needs one of every "
            "host; make it from a clean-only episode: cis490 calibrate --host HOST"
        )
    wrong = sorted(host for host in hosts if records[host].host_id != host)
    if wrong:
        raise CalibrationError(
            f"the calibration record given for {wrong[0]} is of {records[wrong[0]].host_id}"
        )
    n_channels = channel_indices(variant).size
    arrays = [records[host].of_variant(variant) for host in hosts]
    median, iqr = (
        np.array([pair[i] for pair in arrays], dtype=np.float32).reshape(-1, n_channels)
        for i in (0, 1)
    )
    ids = tuple(records[host].id for host in hosts)
    suspect = tuple(records[host].suspect for host in hosts)
    place = {host: i for i, host in enumerate(hosts)}
    row = np.array([place[host] for host in episodes["host_id"]], dtype=np.intp)
    return CalibrationReferences(row, median, iqr, ids, suspect)
