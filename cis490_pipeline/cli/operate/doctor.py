"""``cis490 doctor``: check the installation, the store and the data folder."""

import contextlib
import importlib.util
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import polars as pl

from cis490_pipeline.checkpoints.processor import processor, processor_line
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.cli.data.store_lines import Line, store_lines
from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.cli.operate.device_lines import agent_line, clock_line, watch_line
from cis490_pipeline.cli.options import FOLDER, common_options, print_json, progress_bars
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment.pipeline.corpus import ValidationSweep, corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import dataset_stages
from cis490_pipeline.experiment.stages.make import make_stages
from cis490_pipeline.experiment.stages.provenance import commit, machine
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.recording.requirements import lacking_here
from cis490_pipeline.storage.parquet import read_table
from cis490_pipeline.store.receiver_index import LeftOut
from cis490_pipeline.store.verdicts.overview import overview

EXTRAS = {
    "train": ("torch", "xgboost", "sklearn", "onnx", "jinja2"),
    "orchestrate": ("dagster", "dagster_webserver"),
    "live": ("onnxruntime", "safetensors"),
    "s3": ("s3fs",),
    "dask": ("distributed",),
    "lab": ("dagster_postgres",),
    "record": ("qemu",),
}
MIN_FREE_BYTES = 1 << 30


@click.command()
@click.argument("store_path", metavar="[STORE]", required=False)
@click.option(
    "--bundle",
    type=FOLDER,
    help="Models that `watch` is to run; default: DATA/watch/bundle, where `make watch` puts them.",
)
@common_options
def doctor(store_path: str | None, bundle: Path | None, as_json: bool, **flags: Any) -> int:
    """Check installation, STORE and data folder, with a remedy for each finding.

    Lists what STORE holds, what it lacks, and what would be dropped and why. New or changed
    episodes are read for this, as `validate` does, which takes a while the first time.
    """
    if store_path is not None:
        flags["store"] = store_path
    settings = Settings.load(**flags)
    with progress_bars() as report:
        workspace = Workspace(settings, report)
        store = _store(workspace)
    lines = [*_installation(), *_device(workspace, bundle), *store, *_data(workspace)]
    lines += [*_stages(workspace), *_instance(workspace)]
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        for line in lines:
            word = "LOOK" if not line.ok else "warn" if line.warn else "ok  "
            advice = f"  -> {line.advice}" if line.advice and word != "ok  " else ""
            click.echo(f"{word} {line.what}: {line.found}{advice}")
    return 0 if all(line.ok for line in lines) else EXIT_FINDINGS


def _installation() -> list[Line]:
    found = library_versions()
    lines = [
        Line(
            (3, 11) <= sys.version_info[:2] <= (3, 13), "python", found["python"], "use 3.11-3.13"
        ),
        Line(True, "code", f"{found['cis490_pipeline']} at {commit()[:12]}, {machine()}"),
        Line(True, "processors", f"{os.cpu_count()}; {processor_line(processor())}"),
    ]
    for extra in EXTRAS:
        missing = _missing(extra)
        text = f"missing {', '.join(missing)}" if missing else "complete"
        # A small device installs `live` alone: a missing extra is a fact, not a fault.
        lines.append(Line(True, f"extra [{extra}]", text))
    return lines


def _device(workspace: Workspace, bundle: Path | None) -> list[Line]:
    """Check what `agent`, `watch` and `record` need; few machines do all of it."""
    folder = bundle or workspace.paths.root / "watch" / "bundle"
    watch = watch_line(folder, is_usual=bundle is None, missing=_missing("live"))
    lacks = "; ".join(f"{lack.what} ({lack.remedy})" for lack in lacking_here())
    found = f"missing {lacks}" if lacks else "all that it needs"
    return [agent_line(), watch, Line(True, "recording", found, warn=bool(lacks)), clock_line()]


def _store(workspace: Workspace) -> list[Line]:
    root = workspace.settings.store
    if isinstance(root, Path) and not root.is_dir():
        return [Line(False, "store", f"{root} is not a folder", "set --store or CIS490_STORE")]
    try:
        index = workspace.store.read_index()
        refs = workspace.store.require_episodes(index)
        left_out = workspace.store.left_out()
    except (PipelineError, OSError) as error:
        advice = (
            "repair or remove the index"
            if isinstance(root, Path)
            else "see docs/how-to/elsewhere.md"
        )
        return [Line(False, "store", str(error), advice)]
    absent = [ref for ref in refs if not workspace.store.has(ref)]
    unindexed = [ref for ref in refs if ref not in index.rows]
    return [
        Line(
            True, "store", f"{root}: {len(refs)} episodes of {len({r.host_id for r in refs})} hosts"
        ),
        _count("indexed, but without a file", absent, "ship them again"),
        _count("on disk, but not indexed", unindexed, "they are rejected as not_indexed"),
        _left_out("index rows skipped", index.skipped),
        _left_out("entries that are no episode's", left_out),
        *store_lines(overview(_verdicts(workspace))),
    ]


def _verdicts(workspace: Workspace) -> pl.DataFrame:
    """Return the store's verdicts, reading only what is new.

    They are saved unless the data folder holds the verdicts of another store or is read-only.
    """
    stage = ValidationSweep(workspace)
    if stage.record() is None or stage.covers_this_store():
        with contextlib.suppress(OSError):
            make_stages((stage,))
            return read_table(workspace.paths.validation)
    return stage.sweep().frame


def _count(what: str, things: Any, advice: str) -> Line:
    first = f", first: {next(iter(things))}" if things else ""
    return Line(not things, what, f"{len(things)}{first}", advice)


def _left_out(what: str, left_out: LeftOut) -> Line:
    first = f", first: {left_out.first[0]}" if left_out.n else ""
    return Line(not left_out.n, what, f"{left_out.n}{first}", "they are left out; repair or rename")


def _data(workspace: Workspace) -> list[Line]:
    folder = workspace.paths.root
    what = "data folder"
    if workspace.shared is not None:
        what = f"local copy of {workspace.shared.address}"
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    partial = [path for path in folder.rglob("*.tmp*") if "dagster" not in path.parts]
    return [
        Line(writable, what, str(folder), "choose another with --data or CIS490_DATA"),
        Line(free > MIN_FREE_BYTES, "free disk", f"{free / 2**30:.1f} GiB", "free at least 1 GiB"),
        _count("half-written files of killed runs", partial, "safe to delete"),
    ]


def _instance(workspace: Workspace) -> list[Line]:
    """Check Dagster's storage only if it exists: importing Dagster takes seconds."""
    home = Path(os.environ.get("DAGSTER_HOME") or workspace.paths.dagster)
    if _missing("orchestrate") or not home.is_dir():
        return [Line(True, "Dagster", "nothing is recorded in Dagster yet")]
    from cis490_pipeline.orchestration.runtime.health import health_checks

    return [Line(**asdict(check)) for check in health_checks(workspace)]


def _recipe_stages(workspace: Workspace, recipe: Recipe) -> tuple[Stage, ...]:
    if _missing("train"):
        return dataset_stages(workspace, recipe)
    from cis490_pipeline.experiment.order import recipe_stages

    return recipe_stages(workspace, recipe)


def _missing(extra: str) -> list[str]:
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def _stages(workspace: Workspace) -> list[Line]:
    lines = [
        Line(True, stage.key, stage.outdated() or "up to date")
        for stage in corpus_stages(workspace)
    ]
    for recipe in Recipe:
        stages = _recipe_stages(workspace, recipe)
        fresh = sum(stage.outdated() is None for stage in stages)
        lines.append(
            Line(True, f"recipe {recipe}", f"{fresh} of {len(stages)} artefacts up to date")
        )
    return lines
