"""``cis490 record``: record a corpus from virtual machines of a plan."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cis490_pipeline.cli.options import json_option, print_json, progress_bars, stderr

if TYPE_CHECKING:
    from cis490_pipeline.recording.plan import RecordingPlan
    from cis490_pipeline.recording.schedule import PlannedEpisode

_FOLDER = click.Path(file_okay=False, path_type=Path)
_SOCKET = click.Path(exists=True, dir_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


class _PlanGroup(click.Group):
    """Group whose subcommand is ``plan`` if the first argument names none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["plan", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_PlanGroup)
def record() -> None:
    """Record episodes from virtual machines: `cis490 record PLAN.toml --store DIR`.

    Only harmless mimics are recorded; a plan that names a real sample is refused. Nothing leaves
    the machines' own network namespaces.
    """


@record.command(name="plan")
@click.argument("plan_file", metavar="PLAN.toml", type=_FILE)
@click.option("--store", type=_FOLDER, required=True, help="Receiver store to add episodes to.")
@click.option("--image", type=_FOLDER, help="Folder of `cis490 record image`.")
@click.option("--lanes", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--resume", is_flag=True, help="Record the runs of this plan that the store lacks.")
@click.option("--block", type=click.IntRange(min=1), help="Record this block of the plan only.")
@click.option("--dry-run", is_flag=True, help="Print the schedule and record nothing.")
@json_option
def record_plan_command(
    plan_file: Path,
    store: Path,
    image: Path | None,
    lanes: int,
    resume: bool,
    block: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Boot the machines of PLAN.toml in lanes and write their episodes to a store.

    Each finished run is committed by itself: a run that is stopped loses only what was being
    recorded, and --resume goes on. With --dry-run, what this machine lacks for the plan's hosts is
    named, with exit code 1.
    """
    from cis490_pipeline.experiment.stages.provenance import commit
    from cis490_pipeline.recording.lanes import RecordingConfig, record_plan
    from cis490_pipeline.recording.plan import read_plan

    plan = read_plan(plan_file)
    if dry_run:
        return _dry_run(plan, lanes, as_json)
    if image is None:
        raise click.UsageError("--image DIR is needed; make it: cis490 record image --out DIR")
    text, _, dirty = commit().partition("+")
    config = RecordingConfig(
        store=store,
        image=image,
        lanes=lanes,
        resume=resume,
        block=block,
        commit=text,
        dirty=bool(dirty),
    )
    with progress_bars() as report:
        summary = record_plan(plan, config, report)
    if as_json:
        print_json(vars(summary))
    else:
        click.echo(f"recorded: {summary.recorded}")
        click.echo(f"kept: {summary.kept}")
        click.echo(f"failed: {len(summary.failures)}")
    for failure in summary.failures:
        stderr.print(failure, soft_wrap=True)
    return 1 if summary.failures else 0


@record.command(name="image")
@click.option("--out", type=_FOLDER, required=True, help="Folder for kernel and ramdisk.")
@click.option("--agent", type=_FILE, help="Agent to put into it instead of this package's own.")
@json_option
def record_image(out: Path, agent: Path | None, as_json: bool) -> int:
    """Build the guests' kernel and ramdisk from this machine's packages; equal bytes each time."""
    from cis490_pipeline.collect.pack import packed
    from cis490_pipeline.recording.image import build_image

    content = packed() if agent is None else agent.read_bytes()
    image = build_image(out, content)
    if as_json:
        print_json(image.description)
    else:
        for key, value in image.description.items():
            click.echo(f"{key}: {value}")
    return 0


@record.command(name="attach")
@click.option("--qemu-pid", type=click.IntRange(min=1), required=True, help="Process id of QEMU.")
@click.option("--qmp-socket", type=_SOCKET, required=True, help="Socket of its machine protocol.")
@click.option("--tap", required=True, help="Host's end of the guest's link.")
@click.option("--guest-channel", type=_SOCKET, required=True, help="Socket of the agent's rows.")
@click.option("--control", type=_SOCKET, required=True, help="Socket of the load runner.")
@click.option("--phases", type=_FILE, required=True, help="Plan with this machine as one host.")
@click.option("--store", type=_FOLDER, required=True, help="Receiver store to add the episode to.")
def record_attach(
    qemu_pid: int,
    qmp_socket: Path,
    tap: str,
    guest_channel: Path,
    control: Path,
    phases: Path,
    store: Path,
) -> int:
    """Record one run on a machine that runs already; its own manager starts and ends it."""
    from cis490_pipeline.experiment.stages.provenance import commit
    from cis490_pipeline.recording.attach import AttachConfig, record_attached
    from cis490_pipeline.recording.plan import read_plan
    from cis490_pipeline.recording.sources import Endpoints

    text, _, dirty = commit().partition("+")
    config = AttachConfig(
        endpoints=Endpoints(
            pid=qemu_pid, qmp=qmp_socket, control=control, rows=guest_channel, interface=tap
        ),
        store=store,
        commit=text,
        dirty=bool(dirty),
    )
    ref, failure = record_attached(read_plan(phases), config)
    click.echo(str(ref))
    if failure is not None:
        stderr.print(f"failed: {failure}", soft_wrap=True)
    return 0 if failure is None else 1


def _dry_run(plan: "RecordingPlan", lanes: int, as_json: bool) -> int:
    """Print the schedule; return 1 if this machine lacks something that the plan's hosts need."""
    from cis490_pipeline.recording.requirements import lacking_for
    from cis490_pipeline.recording.schedule import phase_text, schedule

    runs = schedule(plan)
    rows = [
        {
            "number": run.number,
            "block": run.block,
            "host": run.host.name,
            "sample": run.treatment.profile.name if run.treatment else None,
            "profile": run.treatment.activity if run.treatment else None,
            "parameters": run.treatment.parameters if run.treatment else None,
            "settle_s": run.settle_s,
            "duration_s": run.duration_s,
            "phases": phase_text(run.steps),
            "sham": phase_text(run.shams) if run.shams else None,
            "lookalikes": sorted({background.activity for background in run.backgrounds}),
        }
        for run in runs
    ]
    if as_json:
        print_json(rows)
    else:
        _print_schedule(runs)
        _print_blocks(runs, lanes)
    lacks = lacking_for(plan)
    for lack in lacks:
        stderr.print(f"this machine lacks {lack.what}: {lack.remedy}", soft_wrap=True)
    return 1 if lacks else 0


def _print_schedule(runs: "Sequence[PlannedEpisode]") -> None:
    from cis490_pipeline.recording.schedule import phase_text

    for run in runs:
        sample = "sham-armed" if run.shams else "clean only"
        if run.treatment:
            sample = f"{run.treatment.profile.name} ({run.treatment.activity})"
        click.echo(
            f"{run.number:>4}  {run.host.name:<16} {sample:<28} {run.duration_s:6.1f} s  "
            f"{phase_text(run.shams or run.steps)}"
        )


def _print_blocks(runs: "Sequence[PlannedEpisode]", lanes: int) -> None:
    """Print what each block holds, and about how long it takes with this number of lanes."""
    from cis490_pipeline.recording.blocks import MAX_BLOCK_S, lanes_take_s

    for block in range(1, runs[-1].block + 1):
        inside = [run for run in runs if run.block == block]
        takes_s = lanes_take_s([run.settle_s + run.duration_s for run in inside], lanes)
        hint = "; raise `blocks` or --lanes" if takes_s > MAX_BLOCK_S else ""
        click.echo(
            f"block {block}: {len(inside)} runs, {len({run.host.name for run in inside})} hosts, "
            f"about {takes_s / 60:.0f} minutes in {lanes} lanes{hint}"
        )
    total_s = sum(run.duration_s + run.settle_s for run in runs)
    click.echo(f"{len(runs)} runs, {total_s / 3600:.1f} h of recording in one lane, besides boots")
