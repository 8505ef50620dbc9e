"""Limits of this process: threads of numeric libraries, memory kept after it was freed."""

import ctypes
import os
import platform
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Options of glibc's mallopt(3)."""


def pin_library_threads() -> None:
    """Give numeric libraries one thread each, unless the environment says otherwise.

    They read these variables once, when they are imported: call this before. Twelve models on two
    cores otherwise wait for each other, and sums in another order round differently.
    """
    for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "POLARS_MAX"):
        os.environ.setdefault(f"{library}_THREADS", "1")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that this process has freed, for its next episode.

    By default an array over 128 KiB is mapped anew each time, and filling its fresh pages costs
    more than the work done on it. These are the thresholds that glibc settles on by itself once a
    block of 32 MiB was freed; other C libraries, and what the environment says, stay as they are.
    """
    told = os.environ.get("GLIBC_TUNABLES", "") + "".join(k for k in os.environ if "MALLOC_" in k)
    if platform.libc_ver()[0] != "glibc" or "malloc" in told.lower():
        return
    set_option = ctypes.CDLL(None).mallopt
    set_option(_M_MMAP_THRESHOLD, 32 << 20)
    set_option(_M_TRIM_THRESHOLD, 64 << 20)
