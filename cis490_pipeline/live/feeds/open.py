"""Open the feed that a SOURCE argument names."""

import sys
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.feed import Feed, PacedFeed
from cis490_pipeline.live.feeds.folder import ArchiveFeed, FolderFeed
from cis490_pipeline.live.feeds.greeting import read_token
from cis490_pipeline.live.feeds.serial import SerialFeed
from cis490_pipeline.live.feeds.sockets import SocketFeed
from cis490_pipeline.live.feeds.stream import StreamFeed
from cis490_pipeline.store.receiver import ARCHIVE_SUFFIX

_SERIAL: Final = "serial:"


def open_feed(source: str, speed: float | None = None, token_file: Path | None = None) -> Feed:
    """Open the feed of a SOURCE argument.

    Parameters
    ----------
    source : ``-`` for standard input, ``tcp:HOST:PORT``, ``unix:PATH``, ``serial:DEVICE``, a
        folder of an episode (it may still grow), or an archive ``*.tar.zst``; anything else is a
        `ConfigError`, and so is a speed for rows that arrive live.
    token_file : token that connections to ``tcp:`` have to hold.
    """
    if token_file is not None and not source.startswith("tcp:"):
        raise ConfigError(f"--token-file is for tcp:HOST:PORT; {source} needs no token")
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
    if source.startswith(_SERIAL):
        return SerialFeed(source.removeprefix(_SERIAL))
    return SocketFeed(source, token=None if token_file is None else read_token(token_file))


def _recorded(source: str) -> Feed | None:
    if source == "-" or source.startswith(("tcp:", "unix:", _SERIAL)):
        return None
    path = Path(source)
    if path.is_dir():
        return FolderFeed(path)
    if path.is_file() and path.name.endswith(ARCHIVE_SUFFIX):
        return ArchiveFeed(path)
    raise ConfigError(
        f"{source}: neither a folder of an episode nor an archive (*{ARCHIVE_SUFFIX}); "
        "wanted one of these, - for standard input, tcp:HOST:PORT, unix:PATH or serial:DEVICE"
    )
