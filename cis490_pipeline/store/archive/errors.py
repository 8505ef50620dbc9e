"""Why an archive could not be read; each becomes a reason of the episode's verdict."""


class CorruptArchiveError(Exception):
    """The bytes are no whole zstd-compressed tar."""


class UnsupportedArchiveError(Exception):
    """It may be sound, but asks a reader for more than the limits."""


class OversizeError(Exception):
    """More bytes came out than allowed."""
