"""The one way to make stages: in order, announced, and nothing beyond a check that fails."""

from collections.abc import Iterable

from cis490_pipeline.experiment.stages.gates import Passed, read_by, require_passed
from cis490_pipeline.experiment.stages.stage import Stage, StageResult


def make_stages(
    stages: Iterable[Stage], *, checked: bool = True, force: bool = False
) -> list[StageResult]:
    """Bring stages up to date in the order given, and stop where a blocking check fails.

    Each is announced as it is there, before its checks, to the listener of its workspace.

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
        If a stage cannot be made.
    """
    outcomes = []
    passed: Passed = set()
    for stage in stages:
        require_passed(read_by(stage), passed)
        outcome = stage.ensure(force=force)
        stage.workspace.announce(outcome)
        if outcome.made:
            passed.discard((stage.scope, stage.key))
        if checked:
            require_passed((stage,), passed)
        outcomes.append(outcome)
    return outcomes


def made_keys(outcomes: Iterable[StageResult]) -> list[str]:
    """Return the keys of what was made, leaving out what was up to date."""
    return [outcome.record.key for outcome in outcomes if outcome.made]
