"""Archive errors, each with the reason code of the episode's verdict."""

from cis490_pipeline.store.reasons import Reason


class ArchiveError(Exception):
    """An archive cannot be read to its end."""

    reason: Reason


class CorruptArchiveError(ArchiveError):
    """The bytes are not a complete zstd-compressed tar."""

    reason = Reason.ARCHIVE_CORRUPT


class UnsupportedArchiveError(ArchiveError):
    """A possibly valid archive exceeds the reader's limits."""

    reason = Reason.ARCHIVE_UNSUPPORTED


class OversizeError(ArchiveError):
    """The unpacked size exceeds the limit."""

    reason = Reason.MEMBER_TOO_LARGE
