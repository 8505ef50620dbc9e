"""Rows from a serial port."""

import os
import stat
import tty

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.feeds.stream import StreamFeed


class SerialFeed(StreamFeed):
    """Rows of a serial port, until it is unplugged.

    Raises
    ------
    ConfigError
        If it is no character device, or cannot be opened.
    """

    def __init__(self, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as fault:
            raise ConfigError(f"serial:{path} cannot be opened: {fault.strerror}") from fault
        if not stat.S_ISCHR(os.fstat(fd).st_mode):
            os.close(fd)
            raise ConfigError(
                f"serial:{path} is no serial port; wanted a device such as /dev/ttyS0"
            )
        if os.isatty(fd):
            # The terminal's driver would change line ends and answer with an echo.
            tty.setraw(fd)
        super().__init__(fd, f"serial:{path}")
        self._owned = fd

    def close(self) -> None:
        """Close the port."""
        os.close(self._owned)
