"""Reason codes of the episode format, each with the verdict it implies."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from cis490_pipeline.domain import Verdict
from cis490_pipeline.errors import EpisodeRejectedError


class Reason(StrEnum):
    """Why an episode was degraded or rejected; values appear in files and reports."""

    _value_: str
    meaning: str
    """Explanation for reports."""

    def __new__(cls, code: str, meaning: str = "") -> Self:
        """Make a string of the code that carries its explanation."""
        reason = str.__new__(cls, code)
        reason._value_, reason.meaning = code, meaning
        return reason

    SHA256_MISMATCH = "sha256_mismatch", "the archive is not the one the receiver indexed"
    ARCHIVE_CORRUPT = "archive_corrupt", "the archive is damaged or cut short"
    ARCHIVE_UNSUPPORTED = (
        "archive_unsupported",
        "the archive asks for more memory, or more, than a reader gives",
    )
    UNSAFE_MEMBER = (
        "unsafe_member",
        "the archive holds a link, a device, a member twice or a path outside",
    )
    MEMBER_TOO_LARGE = (
        "member_too_large",
        "a member, the episode or the number of members is over the limits",
    )
    MISSING_MEMBER = "missing_member", "a file the format asks for is not there"
    UNFINISHED = "unfinished", "the run did not reach its end"
    NOT_INDEXED = "not_indexed", "on disk, but the index does not know it"
    META_SCHEMA = "meta_schema", "meta.json is not of the format"
    SCHEMA_VERSION = "schema_version", "written in another version of the format"
    ID_MISMATCH = "id_mismatch", "path, index and meta.json disagree, or two hosts have one id"
    LABELS_EMPTY = "labels_empty", "no phase is labelled"
    LABELS_SCHEMA = "labels_schema", "a label is not of the format"
    UNKNOWN_PHASE = "unknown_phase", "a label names a phase there is not"
    LABELS_NOT_MONOTONIC = "labels_not_monotonic", "labels go back in time, or go on after the end"
    LABELS_CHAIN = "labels_chain", "a label does not follow from the one before"
    LABEL_FAILED = "label_failed", "the run did not go as planned"
    ROW_SCHEMA = "row_schema", "a telemetry row is not of the format"
    ROWS_NOT_MONOTONIC = "rows_not_monotonic", "telemetry goes back in time"
    TOO_FEW_ROWS = "too_few_rows", "the host's recorder wrote under 80 % of its rows"
    TOO_SHORT = "too_short", "shorter than one window"

    SOURCE_MISSING = "source_missing", "one source recorded nothing"
    SOURCE_SHORT = "source_short", "one source recorded under 80 % of its rows"
    SOURCE_GAP = "source_gap", "one source paused for over 3 s"
    CLOCK_SKEW = "clock_skew", "one source's clock is off by over 2 s"
    SOURCE_FLAT = "source_flat", "nothing recorded differs between the phases"
    COUNTER_RESET = "counter_reset", "all counters of a source restarted from zero"
    COUNTER_FELL = "counter_fell", "a counter fell, though its source did not restart"
    ROWS_REPEATED = "rows_repeated", "rows were delivered twice; they count once"
    LABEL_UNJUSTIFIED = "label_unjustified", "a label has no event that explains it"
    ROW_COUNT_MISMATCH = "row_count_mismatch", "the recorder counted other rows than it wrote"
    CODE_DIRTY = "code_dirty", "recorded by uncommitted code"
    UNSEALED = "unsealed", "no digest shows that it is what was recorded"
    DUPLICATE_CONTENT = "duplicate_content", "the same telemetry is there under another id"

    @property
    def verdict(self) -> Verdict:
        """Verdict implied by the reason: rejected, or degraded (usable)."""
        return Verdict.DEGRADED if self in _DEGRADING else Verdict.REJECTED


_DEGRADING: Final = frozenset(list(Reason)[list(Reason).index(Reason.SOURCE_MISSING) :])


@dataclass(frozen=True)
class Finding:
    """One fault of an episode: a reason code and an explanation."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        """Return ``code: detail``, as stored in the validation index."""
        return f"{self.reason}: {self.detail}"


def verdict_of(reasons: Iterable[str]) -> Verdict:
    """Combine reason codes into a verdict; raise `ValueError` for a code not of the format."""
    verdicts = {Reason(code).verdict for code in reasons}
    if Verdict.REJECTED in verdicts:
        return Verdict.REJECTED
    return Verdict.DEGRADED if verdicts else Verdict.ACCEPTED


def rejected(episode: object, findings: Iterable[Finding]) -> EpisodeRejectedError:
    """Build the error of an episode that these findings reject; it carries their reason codes."""
    faults = list(findings)
    text = "; ".join(map(str, faults)) or "has no telemetry"
    codes = tuple(sorted({fault.reason.value for fault in faults}))
    return EpisodeRejectedError(f"{episode}: {text}", codes)
