"""Real runs of the pipeline, kept small, and stores that a test may spoil."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from cis490_pipeline.domain import Architecture, EpisodeRef, Recipe
from cis490_pipeline.domain.catalogue import RUN_VARIANTS
from cis490_pipeline.experiment.leaderboard import Leaderboard
from cis490_pipeline.experiment.order import TABLES, corpus_stages, dataset_stages
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.training import TrainedCheckpoint
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.store.receiver import LocalStore

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
FAST = tuple((a, v) for a in (Architecture.GBT, Architecture.MLP) for v in RUN_VARIANTS)
"""Models that are trained in a second or so."""

THINKPAD = "elliott-thinkpad"
SIX = (
    EpisodeRef(THINKPAD, "01M818T3B21K3XM3WCNJE8F1GP"),
    EpisodeRef(THINKPAD, "01M818T4B39PJZW8NHYYTV8VYM"),
    EpisodeRef(THINKPAD, "01M818WGK6GBMYCD90X218XD9J"),
    EpisodeRef(THINKPAD, "01M818Z629DX3943FZ7E6QF750"),
    EpisodeRef("garage-pi", "01M818WXRG33PWZSGRJ7Q6BEC5"),
    EpisodeRef("lab-nuc", "01M818ZEBE97BCH8SYXVWYQWYW"),
)
"""Accepted episodes, the first ones received."""

Members = dict[str, bytes]


def fast_stages(workspace: Workspace, recipe: Recipe = Recipe.HOST) -> tuple[Stage, ...]:
    return (
        *corpus_stages(workspace),
        *dataset_stages(workspace, recipe),
        *(TrainedCheckpoint(workspace, recipe, *model) for model in FAST),
        *(EvaluationReport(workspace, recipe, *model) for model in FAST),
        Leaderboard(workspace, recipe),
    )


def table_stages(workspace: Workspace, recipe: Recipe = Recipe.HOST) -> tuple[Stage, ...]:
    """What is compared beside the models, and the board that shows it."""
    return (*(table(workspace, recipe) for table in TABLES), Leaderboard(workspace, recipe))


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    """Return the same run in another data folder, to be spoilt."""
    data = folder / "data"
    shutil.copytree(workspace.paths.root, data)
    return Workspace(replace(workspace.settings, data=data))


def copy_store(root: Path, refs: Sequence[EpisodeRef] = SIX) -> LocalStore:
    """Copy some of the recorded episodes, index rows and all."""
    sample, store = LocalStore(SAMPLE), LocalStore(root)
    root.mkdir(parents=True, exist_ok=True)
    for ref in refs:
        store.archive_path(ref).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(sample.archive_path(ref), store.archive_path(ref))
    wanted = {ref.episode_id for ref in refs}
    with store.index_path.open("ab") as index:
        for line in sample.index_path.read_bytes().splitlines(keepends=True):
            if json.loads(line)["episode_id"] in wanted:
                index.write(line)
    return store


def arrays_in(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def members_of(store: LocalStore, ref: EpisodeRef) -> Members:
    """Contents of an archive by their names in it."""
    packed = store.archive_path(ref).read_bytes()
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    members = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            if stream is not None:
                members[entry.name] = stream.read()
    return members


def repack(store: LocalStore, ref: EpisodeRef, change: Callable[[Members], None]) -> None:
    """Change an archive's members and ship it again, with its true digest in the index."""
    path, members = store.archive_path(ref), members_of(store, ref)
    change(members)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    packed = zstandard.ZstdCompressor().compress(buffer.getvalue())
    path.write_bytes(packed)
    rows = [json.loads(line) for line in store.index_path.read_bytes().splitlines()]
    row = next(row for row in rows if row["episode_id"] == ref.episode_id)
    row |= {"sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)}
    with store.index_path.open("a") as index:
        index.write(json.dumps(row) + "\n")


def member(members: Members, name: str) -> str:
    """Return the full name of a member, whatever folder the archive keeps it in."""
    return next(full for full in members if full.endswith(name))


def with_labels_reordered(members: Members) -> None:
    name = member(members, "labels.jsonl")
    rows = members[name].splitlines(keepends=True)
    rows[1], rows[2] = rows[2], rows[1]
    members[name] = b"".join(rows)


def without_done_marker(members: Members) -> None:
    del members[member(members, "done.marker")]


def with_wrong_prev(members: Members) -> None:
    name = member(members, "labels.jsonl")
    rows = [json.loads(row) for row in members[name].splitlines()]
    rows[2]["prev"] = "dormant"
    members[name] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
