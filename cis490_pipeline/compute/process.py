"""Process-wide settings: threads of numeric libraries, freed memory, log messages, and the end."""

import ctypes
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Options of glibc's mallopt(3)."""
_PR_SET_PDEATHSIG: Final = 1
_CONTAINER_MEMORY: Final = Path("/sys/fs/cgroup/memory.max")


def pin_library_threads() -> None:
    """Limit numeric libraries to one thread each, unless the environment sets their number.

    They read these variables once, at import: call this before. Otherwise twelve models compete
    for two cores, and sums in another order round differently.
    """
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "POLARS_MAX"):
        os.environ.setdefault(f"{library}_THREADS", "1")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB of freed memory for reuse by the next episode.

    By default every array over 128 KiB gets fresh pages from mmap, and faulting them in costs more
    than the work on them. These are the thresholds that glibc adopts by itself once a block of
    32 MiB was freed. Other C libraries and settings in the environment are left alone.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "") + "".join(
        k for k in os.environ if "MALLOC_" in k
    )
    if platform.libc_ver()[0] != "glibc" or "malloc" in tunables.lower():
        return
    set_option = ctypes.CDLL(None).mallopt
    set_option(_M_MMAP_THRESHOLD, 32 << 20)
    set_option(_M_TRIM_THRESHOLD, 64 << 20)


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container if that is allowed less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(_CONTAINER_MEMORY.read_text()))
    # No container, or one without a limit, whose file says "max".
    except (OSError, ValueError):
        return machine


class StderrHandler(logging.Handler):
    """Writes messages as plain lines to whatever standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        stream = sys.stderr
        if stream is not None:
            stream.write(self.format(record) + "\n")
            stream.flush()


def log_to_stderr() -> None:
    """Show this package's messages on standard error; a second call changes nothing.

    For commands only: libraries log, and what imports them decides where messages go.
    """
    logger = logging.getLogger("cis490_pipeline")
    if not any(isinstance(handler, StderrHandler) for handler in logger.handlers):
        logger.addHandler(StderrHandler())
        logger.setLevel(logging.INFO)


def dies_with(parent: int) -> Callable[[], None]:
    """Return what a child calls first, so that Linux kills it when its parent ends."""
    # Loaded here: between fork and exec a child of several threads can load nothing.
    set_option = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None

    def ask() -> None:
        if set_option is None:
            return
        set_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before the request.
        if os.getppid() != parent:
            os._exit(1)

    return ask
