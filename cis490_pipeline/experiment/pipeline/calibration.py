"""Calibration of a host from its clean telemetry, and the check that this was clean."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import polars as pl

from cis490_pipeline.domain import NS_PER_S, PHASES, Recipe, Side
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.baseline import span_statistics
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck, lacking
from cis490_pipeline.features.calibration.record import (
    CalibrationRecord,
    Telemetry,
    channel_baselines,
)
from cis490_pipeline.features.calibration.segments import stretches_of
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.features.windows import BASELINE_S, BASELINE_STEPS
from cis490_pipeline.storage.parquet import read_table

_CLEAN: Final = str(PHASES[0])
_NEARLY: Final = 0.9
"""Share of the seconds asked for that a whole run must hold to be taken for them."""

Checked = tuple[CleanlinessCheck | None, str]
"""A cleanliness check, and in words what it was fitted on; or None, and what is lacking."""


@dataclass(frozen=True)
class HostRecords:
    """Calibration records of many hosts, by host."""

    found: Mapping[str, CalibrationRecord]
    refused: Mapping[str, str]
    """Hosts that have none, each with the reason."""

    @property
    def episodes(self) -> list[str]:
        """Episodes with the role ``calibration``: never trained on and never scored."""
        return sorted(part.episode_id for r in self.found.values() for part in r.telemetry)


def fitted_check(workspace: Workspace, recipe: Recipe) -> Checked:
    """Fit the cleanliness check on a recipe's train side.

    Returns
    -------
    The check, and in words what it was fitted on; or None, and in words what is lacking.
    """
    index = read_table(workspace.paths.validation_index(recipe))
    train = index.filter(pl.col("side") == Side.TRAIN)["episode_id"].to_list()
    stretches = stretches_of(GridStore(GridShards(workspace).folder), train)
    if workspace.settings.quarantine:
        # Never known in train, a channel gets no weight, so that no device is judged by it.
        stretches = stretches.without(workspace.settings.quarantine)
    why = lacking(stretches)
    if why is not None:
        return None, f"no cleanliness check: {why}"
    check = CleanlinessCheck.fit(stretches)
    n_hosts = len(set(stretches.hosts))
    if check.by_host:
        return check, (
            f"{int(stretches.clean.sum())} clean and {int(stretches.infected.sum())} infected "
            f"stretches of {n_hosts} hosts, by regressions that did not see the host"
        )
    return check, (
        f"{check.references.size} clean baselines and {int(stretches.infected.sum())} infected "
        f"stretches of {n_hosts} host{'s' if n_hosts > 1 else ''}"
    )


def host_records(
    workspace: Workspace,
    recipe: Recipe,
    *,
    hosts: Collection[str] | None = None,
    seconds: float | None = None,
    checked: Checked | None = None,
) -> HostRecords:
    """Make the records of all hosts of a recipe that have a sound clean-only episode.

    What is suspect is taken, and says so.

    Parameters
    ----------
    hosts : of these alone.
    seconds : of the start of each episode, or all of one that is up to a tenth shorter; by default
        all of it.
    checked : a check that was fitted before, as of a checkpoint.
    """
    calibration = _Calibration.of(workspace, recipe, checked)
    found, refused = {}, {}
    for host in sorted(calibration.index["host_id"].unique() if hosts is None else set(hosts)):
        try:
            found[host] = calibration.record(
                host, first_s=seconds, at_least=_NEARLY, accept_unclean=True
            )
        except CalibrationError as why:
            refused[host] = str(why)
    return HostRecords(found, refused)


def calibrate_host(
    workspace: Workspace,
    recipe: Recipe,
    host: str,
    *,
    episode_id: str | None = None,
    first_s: float | None = None,
    accept_unclean: bool = False,
) -> CalibrationRecord:
    """Make the calibration record of a host.

    Parameters
    ----------
    recipe : on whose train side the cleanliness check is fitted.
    host : its name in the store.
    episode_id : the episode to take; by default the one that the setting ``calibrate_on`` names
        for the host, or its earliest sound clean-only one.
    first_s : seconds of it, from its start; by default all of a clean-only episode, and the first
        15 s of any other. All is better: the quartiles of 15 s move with each benign burst.
    accept_unclean : whether a person takes the record though it is not found clean.

    Raises
    ------
    CalibrationError
        If the host has no such episode, or it is too short. An unclean baseline is not refused
        here but says so: see ``CalibrationRecord.suspect``.
    """
    return _Calibration.of(workspace, recipe).record(
        host, episode_id=episode_id, first_s=first_s, accept_unclean=accept_unclean
    )


@dataclass(frozen=True)
class _Calibration:
    """What the hosts of a recipe are calibrated from, and the check of it."""

    index: pl.DataFrame
    grids: GridStore
    named: Mapping[str, str]
    """Episodes that the settings name, by host."""
    check: CleanlinessCheck | None
    checked_on: str
    """What the check was fitted on; without one, what is lacking."""

    @classmethod
    def of(cls, workspace: Workspace, recipe: Recipe, checked: Checked | None = None) -> Self:
        index = read_table(workspace.paths.validation_index(recipe))
        grids = GridStore(GridShards(workspace).folder)
        named = workspace.settings.calibrate_on
        return cls(index, grids, named, *(checked or fitted_check(workspace, recipe)))

    def record(
        self,
        host: str,
        *,
        episode_id: str | None = None,
        first_s: float | None = None,
        at_least: float = 1.0,
        accept_unclean: bool,
    ) -> CalibrationRecord:
        grids, check = self.grids, self.check
        chosen, clean_only = _chosen(self.index, host, episode_id or self.named.get(host))
        row = grids.frame.row(by_predicate=pl.col("episode_id") == chosen, named=True)
        n_steps = _steps(f"{host}/{chosen}", row["n_steps"], clean_only, first_s, at_least)
        grid = grids.grid(chosen)[:n_steps]
        end_ns = row["t0_wall_ns"] + n_steps * STEP_NS
        cleanliness = check.judge(grid) if check is not None else None
        silent = "nothing of guest or netflow was recorded in it" if check is not None else None
        labels = zip(row["label_t_wall_ns"], row["label_phase"], strict=True)
        record = CalibrationRecord(
            host_id=host,
            telemetry=(
                Telemetry(
                    episode_id=chosen,
                    content=row["sha256"],
                    start_ns=row["t0_wall_ns"],
                    end_ns=end_ns,
                ),
            ),
            duration_s=n_steps * STEP_NS / NS_PER_S,
            channels=channel_baselines(span_statistics(grid)),
            cleanliness=cleanliness,
            unchecked=(silent or self.checked_on) if cleanliness is None else None,
            labelled_clean=all(phase == _CLEAN for t, phase in labels if t < end_ns),
            accepted_unclean=False,
            schema=grid_schema().to_dict(),
        )
        if record.suspect and accept_unclean:
            return replace(record, accepted_unclean=True)
        return record


def _chosen(index: pl.DataFrame, host: str, episode_id: str | None) -> tuple[str, bool]:
    """Id of the episode to calibrate on, and whether it is a clean-only one."""
    of_host = index.filter(pl.col("host_id") == host)
    if of_host.is_empty():
        known = ", ".join(sorted(index["host_id"].unique()))
        raise CalibrationError(f"no usable episode of host {host!r}; there are {known}")
    if episode_id is not None:
        named = of_host.filter(pl.col("episode_id") == episode_id)
        if named.is_empty():
            raise CalibrationError(
                f"{host} has no usable episode {episode_id!r}; see: cis490 validate"
            )
        return named["episode_id"][0], named["profile"][0] is None
    sound = of_host.filter(
        pl.col("profile").is_null() & pl.col("scorable") & pl.col("baseline_clean")
    )
    if sound.is_empty():
        raise CalibrationError(
            f"{host} has no sound clean-only episode among its {of_host.height} usable ones; "
            "record one, or name an episode that begins clean: --episode ULID --first 15"
        )
    # As they were received: clocks of devices differ by hours.
    return sound.sort("received_at_wall", "episode_id")["episode_id"][0], True


def _steps(
    episode: str, available: int, clean_only: bool, first_s: float | None, at_least: float
) -> int:
    """How many steps of an episode calibrate its host.

    An episode that holds only the share ``at_least`` of what is asked for gives all it has.
    """
    if first_s is None:
        wanted = available if clean_only else BASELINE_STEPS
    else:
        wanted = round(first_s * NS_PER_S / STEP_NS)
        if at_least * wanted <= available < wanted:
            wanted = available
    if wanted < BASELINE_STEPS or wanted > available:
        raise CalibrationError(
            f"{episode}: {wanted * STEP_NS / NS_PER_S:g} s asked for, wanted "
            f"{BASELINE_S:g} to {available * STEP_NS / NS_PER_S:g} s, which it has"
        )
    return wanted
