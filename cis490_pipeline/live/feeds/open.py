"""Open the feed that a SOURCE argument names."""

import sys
from pathlib import Path

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.feed import Feed, PacedFeed
from cis490_pipeline.live.feeds.folder import ArchiveFeed, FolderFeed
from cis490_pipeline.live.feeds.stream import SocketFeed, StreamFeed
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX


def open_feed(source: str, speed: float | None = None) -> Feed:
    """Open the feed of a SOURCE argument.

    Parameters
    ----------
    source : ``-`` for standard input, ``tcp:HOST:PORT``, ``unix:PATH``, a folder of an episode
        (it may still grow), or an archive ``*.tar.zst``; anything else is a `ConfigError`, and so
        is a speed for rows that arrive live.
    """
    recorded = _recorded(source)
    if recorded is not None:
        return recorded if speed is None else PacedFeed(recorded, speed)
    if speed is not None:
        raise ConfigError(f"--speed is for recordings; the rows of {source} arrive at their own")
    if source == "-":
        # A shell's `<&-` leaves Python without a standard input.
        if sys.stdin is None:
            raise ConfigError("standard input is closed; give it rows, or name another SOURCE")
        return StreamFeed(sys.stdin.fileno(), "stdin")
    return SocketFeed(source)


def _recorded(source: str) -> Feed | None:
    if source == "-" or source.startswith(("tcp:", "unix:")):
        return None
    path = Path(source)
    if path.is_dir():
        return FolderFeed(path)
    if path.is_file() and path.name.endswith(ARCHIVE_SUFFIX):
        return ArchiveFeed(path)
    raise ConfigError(
        f"{source}: neither a folder of an episode nor an archive (*{ARCHIVE_SUFFIX}); "
        "wanted one of these, - for standard input, tcp:HOST:PORT or unix:PATH"
    )
