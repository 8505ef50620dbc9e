"""Building of grid shards: the 10 Hz grids of all usable episodes, shared by all recipes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cis490_pipeline.compute import Compute
from cis490_pipeline.compute.progress import Progress, no_progress
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import DatasetError, PipelineError
from cis490_pipeline.features.baseline import baseline_statistics
from cis490_pipeline.features.channels import N_CHANNELS
from cis490_pipeline.features.grids.store import (
    INDEX_FILE,
    INDEX_SCHEMA,
    grids_digest,
    open_shard,
    variant_digests,
    write_manifest,
)
from cis490_pipeline.features.resample import episode_grid, step_count
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.features.windows import BASELINE_STEPS, baseline_is_clean
from cis490_pipeline.storage.content_addressed import write_named
from cis490_pipeline.storage.files import file_sha256
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.storage.parquet import read_table, write_parquet
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow

SHARD_EPISODES: Final = 256
_EPISODES_PER_TASK: Final = 16
"""Batched, because the overhead of single-episode tasks is half of their work."""
COMMIT_SHARDS: Final = 16
"""Number of shards between commits of the index, from which a killed run resumes."""


@dataclass(frozen=True)
class GridIndex:
    """Result of ``build_grids``.

    Attributes
    ----------
    folder : the grid folder.
    frame : its index, one row per episode.
    n_built, n_reused : number of episodes gridded now, and reused.
    failed : episodes that could not be read, with the reason; they are skipped.
    """

    folder: Path
    frame: pl.DataFrame
    n_built: int
    n_reused: int
    failed: dict[EpisodeRef, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of the episodes' contents and of the grid schema."""
        return grids_digest(self.frame, grid_schema())


def build_grids(
    store: ReceiverStore,
    episodes: pl.DataFrame,
    folder: Path,
    compute: Compute,
    progress: Progress = no_progress,
) -> GridIndex:
    """Grid all usable episodes that are not gridded yet.

    Parameters
    ----------
    episodes : usable rows of the validation frame: host_id, episode_id, received_at_wall, sha256,
        content_digest.
    folder : folder of the grids, with ``shard-<n>-<digest>.npy``, ``index.parquet`` and, written
        last, ``manifest.json``.
    progress : informed of the episodes done.

    Returns
    -------
    GridIndex
        The index is sorted by time of receipt, host and id, independent of the order of gridding:
        results must not depend on which episodes were temporarily missing. A shard holds at most
        256 episodes and is immutable: the last one, if not full, is copied into a larger file, and
        one that holds grids of other episodes into a smaller one. An episode whose content changed
        is gridded again.
    """
    wanted = _wanted(episodes)
    present = _present(folder, wanted)
    missing = wanted.join(present, on=["host_id", "episode_id", "sha256"], how="anti")
    # A store that is away is not asked for nothing.
    tasks = _tasks(store, missing) if missing.height else []
    writer = _ShardWriter(folder, _compacted(folder, present), wanted)
    failed: dict[EpisodeRef, str] = {}
    done = 0
    progress("cut grids", done, len(tasks))
    for position, chunk in enumerate(_chunks(tasks, writer.room)):
        built: dict[int, _Gridded] = {}
        starts = range(0, len(chunk), _EPISODES_PER_TASK)
        batches = [chunk[start : start + _EPISODES_PER_TASK] for start in starts]
        for batch, results in compute.map(_grids_of, batches):
            for i, result in enumerate(results, starts[batch]):
                done += 1
                if isinstance(result, str):
                    failed[chunk[i].ref] = result
                else:
                    built[i] = result
                progress("cut grids", done, len(tasks))
        # In order of receipt, independent of the order of completion.
        writer.append([(chunk[i], built[i]) for i in sorted(built)])
        if position % COMMIT_SHARDS == COMMIT_SHARDS - 1:
            writer.commit()
    return GridIndex(
        folder=folder,
        frame=writer.commit(),
        n_built=done - len(failed),
        n_reused=present.height,
        failed=dict(sorted(failed.items())),
    )


@dataclass(frozen=True)
class _Task:
    store: ReceiverStore
    ref: EpisodeRef
    row: IndexRow | None
    content: str


@dataclass(frozen=True, eq=False)
class _Gridded:
    grid: npt.NDArray[np.float32]
    columns: dict[str, Json]


def _grids_of(tasks: Sequence[_Task]) -> list[_Gridded | str]:
    return [_grid_of(task) for task in tasks]


def _grid_of(task: _Task) -> _Gridded | str:
    """Grid one episode, or return the error as text; runs in a worker process."""
    try:
        episode = load_episode(task.store, task.ref, task.row)
        if episode.sha256 != task.content:
            return f"changed since the sweep (now {episode.sha256:.12}); sweep again"
        n_steps = step_count(episode.t0_ns, episode.end_ns)
        grid = episode_grid(episode.columns, episode.t0_ns, n_steps)
    except (PipelineError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    times = [label.t_wall_ns for label in episode.labels]
    phases = [str(label.phase) for label in episode.labels]
    long_enough = n_steps >= BASELINE_STEPS
    unknown = np.full(N_CHANNELS, np.nan, dtype=np.float32)
    median, iqr = baseline_statistics(grid) if long_enough else (unknown, unknown)
    return _Gridded(
        grid,
        {
            "n_steps": n_steps,
            "t0_wall_ns": episode.t0_ns,
            "end_wall_ns": episode.end_ns,
            "label_t_wall_ns": times,
            "label_phase": phases,
            "baseline_median": median.tolist(),
            "baseline_iqr": iqr.tolist(),
            "baseline_clean": long_enough and baseline_is_clean(times, phases, episode.t0_ns),
            **variant_digests(grid),
        },
    )


class _ShardWriter:
    """Appends grids to the folder's shards and keeps its index."""

    def __init__(self, folder: Path, present: pl.DataFrame, order: pl.DataFrame) -> None:
        self._folder = folder
        self._index = present
        self._order = order.select("host_id", "episode_id")
        last = present["shard"].max() if present.height else None
        self._last = str(last) if last is not None else None
        self._n = _shard_number(self._last) + 1 if self._last else 0

    @property
    def room(self) -> int:
        """Number of episodes that still fit the last shard; 0 if a new one is needed."""
        if self._last is None:
            return 0
        return max(0, SHARD_EPISODES - self._index.filter(shard=self._last).height)

    def append(self, gridded: Sequence[tuple[_Task, _Gridded]]) -> None:
        """Append grids to the last shard if it has room, else to a new one."""
        if not gridded:
            return
        parts: list[npt.NDArray[np.float32]] = []
        grown = self._last if self.room else None
        if grown is not None:
            parts.append(np.asarray(open_shard(self._folder / grown)))
            self._n -= 1
        start = sum(len(part) for part in parts)
        rows = []
        for task, episode in gridded:
            key = {
                "episode_id": task.ref.episode_id,
                "host_id": task.ref.host_id,
                "sha256": task.content,
            }
            rows.append({**key, "row_start": start, **episode.columns})
            parts.append(episode.grid)
            start += len(episode.grid)
        name = _write_shard(self._folder, self._n, np.concatenate(parts))
        if grown is not None:
            moved = pl.when(shard=grown).then(pl.lit(name)).otherwise("shard").alias("shard")
            self._index = self._index.with_columns(moved)
        new = pl.DataFrame([{**row, "shard": name} for row in rows], schema=INDEX_SCHEMA)
        self._index = pl.concat([self._index, new])
        self._last, self._n = name, self._n + 1

    def commit(self) -> pl.DataFrame:
        """Write the index, then the manifest; return the index."""
        index_path = self._folder / INDEX_FILE
        self._index = self._order.join(
            self._index, on=["host_id", "episode_id"], how="inner", maintain_order="left"
        ).select(list(INDEX_SCHEMA))
        write_parquet(index_path, self._index)
        names = sorted(self._index["shard"].unique())
        shards = {name: file_sha256(self._folder / name) for name in names}
        write_manifest(self._folder, self._index, shards)
        return self._index


def _wanted(episodes: pl.DataFrame) -> pl.DataFrame:
    """Episodes in the order received, each with what its content is known by."""
    content = pl.coalesce("sha256", "content_digest").alias("sha256")
    return episodes.select("host_id", "episode_id", "received_at_wall", content).sort(
        "received_at_wall", "host_id", "episode_id", nulls_last=True
    )


def _present(folder: Path, wanted: pl.DataFrame) -> pl.DataFrame:
    """Rows of the existing index that are still valid: same content, and the shard exists."""
    index_path = folder / INDEX_FILE
    if not index_path.is_file():
        return pl.DataFrame(schema=INDEX_SCHEMA)
    index = read_table(index_path)
    older = pl.Schema({k: v for k, v in INDEX_SCHEMA.items() if not k.startswith("grid_")})
    if index.schema not in (INDEX_SCHEMA, older):
        raise DatasetError(
            f"{index_path}: columns {list(index.schema)}, wanted {list(INDEX_SCHEMA)}; "
            f"remove {folder} to build it again"
        )
    there = [name for name in index["shard"].unique() if (folder / name).is_file()]
    present = index.filter(pl.col("shard").is_in(there)).join(
        wanted, on=["host_id", "episode_id", "sha256"], how="semi", maintain_order="left"
    )
    return present if index.schema == INDEX_SCHEMA else _with_digests(folder, present)


def _compacted(folder: Path, present: pl.DataFrame) -> pl.DataFrame:
    """Copy each shard that holds grids of no row into one without them; return the moved rows."""
    frames = []
    for (shard,), rows in present.group_by("shard", maintain_order=True):
        grids = open_shard(folder / str(shard))
        if int(rows["n_steps"].sum()) == len(grids):
            frames.append(rows)
            continue
        places = rows.select("row_start", "n_steps").iter_rows()
        kept = np.concatenate([grids[start : start + n] for start, n in places])
        moved = rows.with_columns(
            shard=pl.lit(_write_shard(folder, _shard_number(str(shard)), kept)),
            row_start=pl.col("n_steps").cum_sum() - pl.col("n_steps"),
        )
        frames.append(moved)
    return pl.concat([present.clear(), *frames])


def _with_digests(folder: Path, older: pl.DataFrame) -> pl.DataFrame:
    """Upgrade an index of version 1 without rebuilding its grids."""
    digests: list[dict[str, str]] = []
    for shard, start, n in older.select("shard", "row_start", "n_steps").iter_rows():
        digests.append(variant_digests(open_shard(folder / shard)[start : start + n]))
    columns = [name for name in INDEX_SCHEMA if name not in older.columns]
    schema = dict.fromkeys(columns, pl.String())
    return pl.concat([older, pl.DataFrame(digests, schema=schema)], how="horizontal")


def _tasks(store: ReceiverStore, missing: pl.DataFrame) -> list[_Task]:
    index_rows = store.read_index().rows
    tasks = []
    for host_id, episode_id, content in missing.select("host_id", "episode_id", "sha256").rows():
        ref = EpisodeRef(host_id, episode_id)
        tasks.append(_Task(store.only([ref]), ref, index_rows.get(ref), content))
    return tasks


def _chunks(tasks: Sequence[_Task], room: int) -> Iterable[Sequence[_Task]]:
    """Split the tasks to fill the last shard first, then whole ones."""
    first = room or SHARD_EPISODES
    yield from (chunk for chunk in [tasks[:first]] if chunk)
    for start in range(first, len(tasks), SHARD_EPISODES):
        yield tasks[start : start + SHARD_EPISODES]


def _write_shard(folder: Path, n: int, grids: npt.NDArray[np.float32]) -> str:
    """Write a shard named after its number and digest; return the name."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(grids, dtype=np.float32), allow_pickle=False)
    return write_named(folder, f"shard-{n:05d}", ".npy", buffer.getbuffer())


def _shard_number(name: str) -> int:
    return int(name.split("-")[1])
