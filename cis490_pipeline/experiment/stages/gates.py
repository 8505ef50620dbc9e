"""Gates: what its blocking checks let nothing be made from, until the cause is gone.

A check is asked again whenever something is made from its artefact, in whatever command. What
passed is kept beside the artefact's record and believed while none of the files it was asked of has
been touched; what failed is never kept.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.compute.progress import working
from cis490_pipeline.errors import GateError
from cis490_pipeline.experiment.pipeline.corpus import corpus_stages
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage
from cis490_pipeline.experiment.stages.stage import Stage
from cis490_pipeline.experiment.upkeep.checks import (
    CHECKS_VERSION,
    Check,
    Finding,
    checks_of,
    failure,
)
from cis490_pipeline.storage.files import atomic_write, digest
from cis490_pipeline.storage.json_text import decode_json

_SUFFIX: Final = ".passed"


class _Passed(msgspec.Struct, frozen=True, kw_only=True):
    """Checks of one artefact that passed, and what they were asked of."""

    evidence: str
    """Digest of the code's versions and of every file that was there to be read."""
    names: frozenset[str]


Passed = set[tuple[str, str]]
"""Scope and key of artefacts whose checks were asked in this very call, and passed."""


def require_passed(stages: Iterable[Stage], passed: Passed | None = None) -> None:
    """Ask the checks of some artefacts; what was never made has none.

    Parameters
    ----------
    stages : in the order things are made.
    passed : artefacts that are not asked about again; those that pass now are added.

    Raises
    ------
    GateError
        Of the first artefact one of whose checks fails; naming each of its checks that does, and
        what it found.
    """
    passed = set() if passed is None else passed
    for stage in stages:
        if (stage.scope, stage.key) in passed:
            continue
        if failed := failures(stage):
            raise GateError("; ".join(failed))
        passed.add((stage.scope, stage.key))


def require_current_passed(stages: Iterable[Stage]) -> None:
    """Ask the checks of those artefacts that are up to date, and that nothing makes again.

    An artefact counts as up to date if all that it is made of is: a check that reads what has to be
    made again would fail for that, and hide what changed.

    Raises
    ------
    GateError
        As `require_passed`.
    """
    require_passed(
        stage
        for stage in stages
        if all(of.current() is not None for of in (stage, *_made_of(stage)))
    )


def read_by(stage: Stage) -> list[Stage]:
    """Return all that an artefact is made of within its scope, each once, in order of making."""
    found: dict[str, Stage] = {}

    def add(stages: Iterable[Stage]) -> None:
        for above in stages:
            if above.key not in found:
                add(above.gated_by())
                found[above.key] = above

    add(stage.gated_by())
    return list(found.values())


def _made_of(stage: Stage) -> list[Stage]:
    """Return all that an artefact is made of, what all recipes share included."""
    return [*corpus_stages(stage.workspace), *read_by(stage)]


def failures(stage: Stage) -> list[str]:
    """Ask the checks of one artefact that are not known to pass; return what failed, in words."""
    checks = checks_of(stage)
    if not checks or not isinstance(stage, RecipeStage) or stage.record() is None:
        return []
    known = _known(stage, _evidence(stage))
    unknown = [check for check in checks if check.name not in known]
    return [failure(check, found) for check, found in ask(stage, unknown) if not found.passed]


def ask(stage: RecipeStage, checks: Sequence[Check]) -> list[tuple[Check, Finding]]:
    """Run checks of one artefact, whatever is known of them; keep which of them pass."""
    # Before they are asked: what changes meanwhile must be seen as changed the next time.
    evidence = _evidence(stage)
    found = []
    for check in checks:
        with working(stage.workspace.progress, f"check {check.key}", check.name):
            found.append((check, check.find(stage.workspace, stage.recipe)))
    passed = frozenset(check.name for check, finding in found if finding.passed)
    failed = frozenset(check.name for check, finding in found if not finding.passed)
    known = _known(stage, evidence)
    now = (known | passed) - failed
    if now != known:
        text = msgspec.json.encode(_Passed(evidence=evidence, names=now), order="sorted")
        atomic_write(_path(stage), lambda stream: stream.write(text))
    return found


def _path(stage: Stage) -> Path:
    return stage.record_path.with_suffix(_SUFFIX)


def _known(stage: Stage, evidence: str) -> frozenset[str]:
    try:
        kept = decode_json(_path(stage).read_bytes(), _Passed)
    except (FileNotFoundError, msgspec.DecodeError):
        return frozenset()
    return kept.names if kept.evidence == evidence else frozenset()


def _evidence(stage: Stage) -> str:
    """Digest what the checks of a stage read: its own files and those of all it is made of."""
    read = [*_made_of(stage), stage]
    return digest(
        {
            "checks": CHECKS_VERSION,
            "libraries": library_versions(),
            "artefacts": {f"{of.scope}/{of.key}": _touched(of) for of in read},
        }
    )


def _touched(stage: Stage) -> dict[str, list[int] | None]:
    """Size and time of a record and of each file that it names; None of one that is not here."""
    record = stage.record()
    root = stage.workspace.paths.root
    files = record.files if record is not None else ()
    stamps = {name: _stamp(root / name) for name in files}
    return {**stamps, "record": _stamp(stage.record_path)}


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
