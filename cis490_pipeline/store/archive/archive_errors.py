"""Archive errors; each maps to a reason code of the episode's verdict."""


class CorruptArchiveError(Exception):
    """The bytes are not a complete zstd-compressed tar."""


class UnsupportedArchiveError(Exception):
    """A possibly valid archive exceeds the reader's limits."""


class OversizeError(Exception):
    """The unpacked size exceeds the limit."""
