"""The one way to make stages: in order, announced, and nothing beyond a check that fails."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from cis490_pipeline.experiment.stages.gates import Passed, read_by, require_passed
from cis490_pipeline.experiment.stages.side_by_side import ensure_side_by_side
from cis490_pipeline.experiment.stages.stage import Stage, StageResult


def make_stages(
    stages: Iterable[Stage], *, checked: bool = True, force: bool = False
) -> list[StageResult]:
    """Bring stages up to date in the order given, and stop where a blocking check fails.

    Each is announced as it is there, before its checks, to the listener of its workspace.
    Neighbours of a group are made at the same time, as many as they say.

    Parameters
    ----------
    stages : each after those it is made of. What they are made of and is not among them is not
        made, but its checks are asked.
    checked : whether the checks of the stages themselves are asked as well, of one that was up to
        date too; otherwise that is for the caller to do.
    force : whether to make even what is up to date.

    Returns
    -------
    An outcome for each stage.

    Raises
    ------
    GateError
        If a check of a stage or of anything it is made of fails. Nothing is made from that; what
        was finished before is kept.
    PipelineError, OSError
        If a stage cannot be made; before any is made, if its settings do not allow it.
    """
    stages = list(stages)
    for stage in stages:
        stage.require_possible()
    outcomes: list[StageResult] = []
    passed: Passed = set()
    for group, at_once in _groups(stages):
        for stage in group:
            require_passed(read_by(stage), passed)
        results: dict[int, StageResult] = {}
        for position, outcome in _ensure(group, at_once, force=force):
            group[position].workspace.announce(outcome)
            results[position] = outcome
        for position, stage in enumerate(group):
            if results[position].made:
                passed.discard((stage.scope, stage.key))
            if checked:
                require_passed((stage,), passed)
            outcomes.append(results[position])
    return outcomes


def _groups(stages: Iterable[Stage]) -> Iterator[tuple[Sequence[Stage], int]]:
    """Return stages in order, those of a group together; and how many to make at a time."""
    for (_, name), neighbours in groupby(stages, lambda of: (of.scope, of.group)):
        group = list(neighbours)
        # Asked now, since it may depend on what was made before.
        at_once = group[0].at_once() if name is not None and len(group) > 1 else 1
        if at_once > 1:
            yield group, at_once
        else:
            yield from (([stage], 1) for stage in group)


def _ensure(
    group: Sequence[Stage], at_once: int, *, force: bool
) -> Iterator[tuple[int, StageResult]]:
    if at_once > 1:
        progress = group[0].workspace.progress
        yield from ensure_side_by_side(group, at_once=at_once, progress=progress, force=force)
        return
    for position, stage in enumerate(group):
        planned = stage.workspace.planned
        result = None if planned is None else planned.result(stage, force=force)
        yield position, result or stage.ensure(force=force)


def made_keys(outcomes: Iterable[StageResult]) -> list[str]:
    """Return the keys of what was made, leaving out what was up to date."""
    return [outcome.record.key for outcome in outcomes if outcome.made]
