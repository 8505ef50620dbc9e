"""The reason codes of the episode format, each with the verdict it brings."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cis490_pipeline.domain import Verdict


class Reason(StrEnum):
    """Why an episode was not simply accepted; values are what files and reports carry."""

    SHA256_MISMATCH = "sha256_mismatch"
    ARCHIVE_CORRUPT = "archive_corrupt"
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
    LABEL_UNJUSTIFIED = "label_unjustified"
    ROW_COUNT_MISMATCH = "row_count_mismatch"
    CODE_DIRTY = "code_dirty"
    UNSEALED = "unsealed"
    DUPLICATE_CONTENT = "duplicate_content"

    @property
    def verdict(self) -> Verdict:
        """Rejected, or degraded (usable, with this reason named)."""
        return Verdict.DEGRADED if self in _DEGRADING else Verdict.REJECTED


_DEGRADING: Final = frozenset(list(Reason)[list(Reason).index(Reason.SOURCE_MISSING) :])


@dataclass(frozen=True)
class Finding:
    """One thing found wrong with an episode: the code for machines, a sentence for people."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        """Return ``code: sentence``, as the index of verdicts carries it."""
        return f"{self.reason}: {self.detail}"


def verdict_of(reasons: Iterable[str]) -> Verdict:
    """Return the verdict that a set of reason codes adds up to.

    Raises
    ------
    ValueError
        If a code is not one of the format's.
    """
    verdicts = {Reason(code).verdict for code in reasons}
    if Verdict.REJECTED in verdicts:
        return Verdict.REJECTED
    return Verdict.DEGRADED if verdicts else Verdict.ACCEPTED
