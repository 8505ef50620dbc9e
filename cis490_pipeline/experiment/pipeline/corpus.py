"""Stages that no recipe changes: the verdict of every episode, and the grids of the usable ones."""

import os
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from cis490_pipeline.experiment.stages.record import Metrics, Record
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, digests
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.features.grids.store import (
    INDEX_FILE,
    INDEX_VERSION,
    MANIFEST_FILE,
    read_manifest,
)
from cis490_pipeline.features.schema import grid_schema
from cis490_pipeline.storage.files import file_sha256, read_object
from cis490_pipeline.storage.parquet import read_table, write_parquet
from cis490_pipeline.store.receiver_index import LeftOut
from cis490_pipeline.store.verdicts.eligibility import usable_expr
from cis490_pipeline.store.verdicts.sweep import SweepResult, sweep, sweep_digest, verdict_counts
from cis490_pipeline.store.verdicts.validate import RULES_VERSION
from cis490_pipeline.store.verdicts.vanished import vanished_rows, without_vanished

_MAX_NAMED: Final = 50
"""Index rows, and entries of the store, that are named when they are left out."""


class ValidationSweep(Stage):
    """``corpus/validation_sweep``: one row per shipped episode with its verdict."""

    key = "corpus/validation_sweep"

    def inputs(self) -> dict[str, str]:
        """Return what the store holds now, by name, size and time; no archive is read."""
        return {
            "rules": RULES_VERSION,
            "store": self.workspace.store.name,
            "listing": self.workspace.store.listing_digest(),
        }

    def unfinished(self) -> str | None:
        """Episodes that could not be checked last time are tried again."""
        return _again(self, "episodes_errored", "checked")

    def make(self) -> StageOutput:
        """Read what is new, changed or judged by other rules; keep every other row."""
        path = self.workspace.paths.validation
        result = self.sweep(self.workspace.paths.validation_journal)
        write_parquet(path, result.frame)
        numbers = _verdict_numbers(result.frame) | {
            "archives_read": result.n_read,
            "archives_unchanged": result.n_reused,
            "index_rows_skipped": result.skipped_index_rows.n,
            "entries_left_out": result.left_out.n,
            "left_out": "\n".join(_first(result.skipped_index_rows, result.left_out)),
        }
        return StageOutput(sweep_digest(result.frame), (path,), numbers)

    def after_record(self) -> None:
        """Remove the journal: the verdicts are in the index now."""
        self.workspace.paths.validation_journal.unlink(missing_ok=True)

    def nothing_done(self, record: Record) -> Metrics:
        """No archive was read, and each was found unchanged."""
        known = record.numbers
        counted = int(known["archives_read"] or 0) + int(known["archives_unchanged"] or 0)
        return {"archives_read": 0, "archives_unchanged": counted}

    def covers_this_store(self) -> bool:
        """Whether the last verdicts are on the store of these settings."""
        record = self.record()
        return record is not None and record.inputs["store"] == self.workspace.store.name

    def sweep(self, journal: Path | None = None) -> SweepResult:
        """Sweep the store, starting from the last verdicts on this same store.

        Parameters
        ----------
        journal : where to note verdicts as they are made; without it nothing at all is written.

        Raises
        ------
        StoreError
            As `sweep`: if too many of the episodes known are lost and the workspace does not
            accept that.
        """
        record = self.record()
        # An edited or truncated verdict file cannot be continued.
        sound = record is not None and not self.altered()
        return sweep(
            self.workspace.store,
            read_table(self.workspace.paths.validation) if sound else None,
            self.workspace.compute,
            self.workspace.progress,
            journal=journal,
            checked_at=_now(),
            verdicts_of=record.inputs["store"] if record is not None else None,
            accept_loss=self.workspace.accept_loss,
        )


class VanishedForgotten(ValidationSweep):
    """The verdicts of the last sweep without those of vanished episodes; the store is not read."""

    def inputs(self) -> dict[str, str]:
        """Return those of the last sweep, so that the next one sees what changed since."""
        return self._last().inputs

    def make(self) -> StageOutput:
        """Drop the rows, and mark duplicates and shared ids among those that stay."""
        path, record = self.workspace.paths.validation, self._last()
        frame = without_vanished(read_table(path))
        write_parquet(path, frame)
        kept = {k: n for k, n in record.numbers.items() if not k.startswith("reason_")}
        return StageOutput(sweep_digest(frame), (path,), kept | _verdict_numbers(frame))

    def _last(self) -> Record:
        record = self.record()
        assert record is not None, "there are no verdicts to drop"
        return record


def _verdict_numbers(frame: pl.DataFrame) -> Metrics:
    counts = verdict_counts(frame)
    return {
        **{f"episodes_{status}": n for status, n in counts["counts"].items()},
        **{f"reason_{code}": n for code, n in counts["reasons"].items()},
        "episodes": frame.height,
        "episodes_vanished": vanished_rows(frame).height,
    }


def _first(*left_out: LeftOut) -> list[str]:
    """Return the first things that were left out, with why."""
    return [text for one in left_out for text in one.first[:_MAX_NAMED]]


def _now() -> str:
    """Return the time now, or the one that ``SOURCE_DATE_EPOCH`` (reproducible-builds.org) sets."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return now.isoformat(timespec="seconds").replace("+00:00", "Z")


class GridShards(Stage):
    """``corpus/grid_shards``: the time-major 10 Hz grid of every usable episode."""

    key = "corpus/grid_shards"

    def above(self) -> tuple[Stage, ...]:
        """Return the verdicts."""
        return (ValidationSweep(self.workspace),)

    @cached_property
    def folder(self) -> Path:
        """Folder of the shards under this code's grid schema."""
        return self.workspace.paths.grids(grid_schema().hash)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of the verdicts and of what a grid means."""
        made = digests(validation=ValidationSweep(self.workspace))
        return made and {**made, "grid_schema": grid_schema().hash, "grid_index": INDEX_VERSION}

    def unfinished(self) -> str | None:
        """Episodes that could not be gridded last time are tried again."""
        return _again(self, "episodes_failed", "gridded")

    def make(self) -> StageOutput:
        """Grid the usable episodes that have no grid yet."""
        self._discard_damaged()
        usable = read_table(self.workspace.paths.validation).filter(usable_expr())
        result = build_grids(
            self.workspace.store,
            usable,
            self.folder,
            self.workspace.compute,
            self.workspace.progress,
        )
        # What the manifest names, not what lies there: a grown shard's older file may go any time.
        names = (*read_manifest(self.folder).shards, INDEX_FILE, MANIFEST_FILE)
        files = tuple(self.folder / name for name in names)
        numbers: Metrics = {
            "episodes": usable.height,
            "episodes_failed": len(result.failed),
            "failures": "; ".join(f"{ref}: {why}" for ref, why in sorted(result.failed.items())),
            "steps": int(result.frame["n_steps"].sum()),
            "bytes": sum(path.stat().st_size for path in files),
        }
        return StageOutput(result.digest, files, numbers)

    def _discard_damaged(self) -> None:
        """Remove shards and an index that are not what was written, so that nothing builds on them.

        A killed run leaves an index newer than the record: it counts if its manifest knows it.
        """
        for name in self.altered():
            path = self.workspace.paths.root / name
            if path.parent == self.folder and path.suffix == ".npy":
                path.unlink(missing_ok=True)
        index, manifest = self.folder / INDEX_FILE, self.folder / MANIFEST_FILE
        if index.is_file() and (
            not manifest.is_file()
            or read_object(manifest).get("index_sha256") != file_sha256(index)
        ):
            index.unlink()


def _again(stage: Stage, counted: str, done: str) -> str | None:
    record = stage.record()
    n = int(record.numbers.get(counted) or 0) if record else 0
    return f"{n} episodes could not be {done} last time" if n else None


def corpus_stages(workspace: Workspace) -> tuple[Stage, ...]:
    """Return what all recipes share, in order."""
    return (ValidationSweep(workspace), GridShards(workspace))
