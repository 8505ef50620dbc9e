"""Making several stages of one scope at the same time, each in a process of its own.

This process holds the scope's lock and writes all records; the others read what is there and leave
files. What they make is the same to the byte as if it were made here, one after another.
"""

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from cis490_pipeline.compute import ProcessCompute
from cis490_pipeline.compute.pool_worker import report_to_owner
from cis490_pipeline.compute.progress import Progress
from cis490_pipeline.errors import PipelineError, WorkerDiedError
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, StageResult, Unmade


@dataclass(frozen=True)
class _Made:
    """What one stage's process made, or why it could not."""

    output: StageOutput | PipelineError | OSError
    seconds: float


def ensure_side_by_side(
    stages: Sequence[Stage], *, at_once: int, progress: Progress, force: bool = False
) -> Iterator[tuple[int, StageResult]]:
    """Make what is not up to date of some stages, several at the same time, and record it.

    Parameters
    ----------
    stages : of one scope and group; all that they are made of is there.
    at_once : processes.
    progress : listener for what all of them report.
    force : whether to make even what is up to date.

    Yields
    ------
    Position and result of each stage, once its record is written.

    Raises
    ------
    PipelineError, OSError
        If a stage cannot be made; after all others have been.
    WorkerDiedError
        If a process was killed. Those of the other stages are stopped too; what they finished is
        recorded, and what can be resumed goes on when the stages are made again.
    """
    with ExitStack() as held:
        todo: list[tuple[int, Unmade]] = []
        for position, stage in enumerate(stages):
            found = held.enter_context(stage.begun(force=force))
            if isinstance(found, StageResult):
                yield position, found
            elif found.unsent is not None:
                yield position, stage.finish(found, None, 0.0)
            else:
                todo.append((position, found))
        faults: list[PipelineError | OSError] = []
        pool = ProcessCompute(at_once, progress=progress)
        try:
            for k, made in pool.map(_make, [_elsewhere(stages[position]) for position, _ in todo]):
                position, unmade = todo[k]
                if isinstance(made.output, StageOutput):
                    yield position, stages[position].finish(unmade, made.output, made.seconds)
                else:
                    faults.append(made.output)
        except WorkerDiedError as died:
            keys = ", ".join(stages[todo[k][0]].key for k in died.positions)
            raise WorkerDiedError(
                f"a process was killed while {keys} of {stages[0].scope} were made; what was "
                "finished is kept. Check for the kernel's out-of-memory killer, and run again, "
                "with a smaller --parallel-models: networks go on after their last epoch",
                died.positions,
            ) from died
        if len(faults) > 1:
            raise PipelineError("; ".join(map(str, faults))) from faults[0]
        if faults:
            raise faults[0]


class Planned:
    """Stages that a run asks for one by one: with the first of them, all are made side by side.

    Parameters
    ----------
    stages : of one scope; those of no group are left out.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._waiting = {stage.key: stage for stage in stages if stage.group is not None}
        self._results: dict[str, StageResult] = {}

    def result(self, stage: Stage, *, force: bool = False) -> StageResult | None:
        """Return the result of a planned stage; None of one that is to be made by itself.

        A fault of any planned stage is raised for the one that was asked for first, as by
        `ensure_side_by_side`. What was not made then is to be made by itself.
        """
        if stage.key in self._waiting:
            planned, self._waiting = list(self._waiting.values()), {}
            if (at_once := min(len(planned), stage.at_once())) > 1:
                # Of the one that asks: its listener may be a step's log.
                progress = stage.workspace.progress
                for _, result in ensure_side_by_side(
                    planned, at_once=at_once, progress=progress, force=force
                ):
                    self._results[result.record.key] = result
        return self._results.pop(stage.key, None)


def _elsewhere(stage: Stage) -> Stage:
    """Return a stage as the process that makes it gets it."""
    other = copy.copy(stage)
    other.workspace = stage.workspace.elsewhere(report_to_owner)
    return other


def _make(stage: Stage) -> _Made:
    started = time.perf_counter()
    output: StageOutput | PipelineError | OSError
    try:
        output = stage.make()
    # Returned, not raised: raised, it would stop the trainings beside it.
    except (PipelineError, OSError) as fault:
        output = fault
    return _Made(output, time.perf_counter() - started)
