"""Reason codes of the episode format, each with the verdict it implies."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cis490_pipeline.domain import Verdict


class Reason(StrEnum):
    """Why an episode was degraded or rejected; values appear in files and reports."""

    SHA256_MISMATCH = "sha256_mismatch"
    ARCHIVE_CORRUPT = "archive_corrupt"
    ARCHIVE_UNSUPPORTED = "archive_unsupported"
    UNSAFE_MEMBER = "unsafe_member"
    MEMBER_TOO_LARGE = "member_too_large"
    MISSING_MEMBER = "missing_member"
    UNFINISHED = "unfinished"
    NOT_INDEXED = "not_indexed"
    META_SCHEMA = "meta_schema"
    SCHEMA_VERSION = "schema_version"
    ID_MISMATCH = "id_mismatch"
    LABELS_EMPTY = "labels_empty"
    LABELS_SCHEMA = "labels_schema"
    UNKNOWN_PHASE = "unknown_phase"
    LABELS_NOT_MONOTONIC = "labels_not_monotonic"
    LABELS_CHAIN = "labels_chain"
    LABEL_FAILED = "label_failed"
    ROW_SCHEMA = "row_schema"
    ROWS_NOT_MONOTONIC = "rows_not_monotonic"
    TOO_FEW_ROWS = "too_few_rows"
    TOO_SHORT = "too_short"

    SOURCE_MISSING = "source_missing"
    SOURCE_SHORT = "source_short"
    SOURCE_GAP = "source_gap"
    CLOCK_SKEW = "clock_skew"
    SOURCE_FLAT = "source_flat"
    COUNTER_RESET = "counter_reset"
    COUNTER_FELL = "counter_fell"
    ROWS_REPEATED = "rows_repeated"
    LABEL_UNJUSTIFIED = "label_unjustified"
    ROW_COUNT_MISMATCH = "row_count_mismatch"
    CODE_DIRTY = "code_dirty"
    UNSEALED = "unsealed"
    DUPLICATE_CONTENT = "duplicate_content"

    @property
    def verdict(self) -> Verdict:
        """Verdict implied by the reason: rejected, or degraded (usable)."""
        return Verdict.DEGRADED if self in _DEGRADING else Verdict.REJECTED

    @property
    def meaning(self) -> str:
        """Explanation of the reason for reports."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Reason.SHA256_MISMATCH: "the archive is not the one the receiver indexed",
    Reason.ARCHIVE_CORRUPT: "the archive is damaged or cut short",
    Reason.ARCHIVE_UNSUPPORTED: "the archive asks for more memory, or more, than a reader gives",
    Reason.UNSAFE_MEMBER: "the archive holds a link, a device, a member twice or a path outside",
    Reason.MEMBER_TOO_LARGE: "a member, the episode or the number of members is over the limits",
    Reason.MISSING_MEMBER: "a file the format asks for is not there",
    Reason.UNFINISHED: "the run did not reach its end",
    Reason.NOT_INDEXED: "on disk, but the index does not know it",
    Reason.META_SCHEMA: "meta.json is not of the format",
    Reason.SCHEMA_VERSION: "written in another version of the format",
    Reason.ID_MISMATCH: "path, index and meta.json disagree, or two hosts have one id",
    Reason.LABELS_EMPTY: "no phase is labelled",
    Reason.LABELS_SCHEMA: "a label is not of the format",
    Reason.UNKNOWN_PHASE: "a label names a phase there is not",
    Reason.LABELS_NOT_MONOTONIC: "labels go back in time, or go on after the end",
    Reason.LABELS_CHAIN: "a label does not follow from the one before",
    Reason.LABEL_FAILED: "the run did not go as planned",
    Reason.ROW_SCHEMA: "a telemetry row is not of the format",
    Reason.ROWS_NOT_MONOTONIC: "telemetry goes back in time",
    Reason.TOO_FEW_ROWS: "the host's recorder wrote under 80 % of its rows",
    Reason.TOO_SHORT: "shorter than one window",
    Reason.SOURCE_MISSING: "one source recorded nothing",
    Reason.SOURCE_SHORT: "one source recorded under 80 % of its rows",
    Reason.SOURCE_GAP: "one source paused for over 3 s",
    Reason.CLOCK_SKEW: "one source's clock is off by over 2 s",
    Reason.SOURCE_FLAT: "nothing recorded differs between the phases",
    Reason.COUNTER_RESET: "all counters of a source restarted from zero",
    Reason.COUNTER_FELL: "a counter fell, though its source did not restart",
    Reason.ROWS_REPEATED: "rows were delivered twice; they count once",
    Reason.LABEL_UNJUSTIFIED: "a label has no event that explains it",
    Reason.ROW_COUNT_MISMATCH: "the recorder counted other rows than it wrote",
    Reason.CODE_DIRTY: "recorded by uncommitted code",
    Reason.UNSEALED: "no digest shows that it is what was recorded",
    Reason.DUPLICATE_CONTENT: "the same telemetry is there under another id",
}

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
    """Combine reason codes into a verdict.

    Raises
    ------
    ValueError
        If a code is not one of the format's.
    """
    verdicts = {Reason(code).verdict for code in reasons}
    if Verdict.REJECTED in verdicts:
        return Verdict.REJECTED
    return Verdict.DEGRADED if verdicts else Verdict.ACCEPTED
