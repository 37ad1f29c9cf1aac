"""Keeps the C library from giving every freed tensor back to the kernel."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_POOLED = 32 * 1024**2  # bytes; glibc's upper bound
KEPT_AT_TOP = 256 * 1024**2  # bytes


def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks up to 32 MB instead of unmapping them; true where that took effect.

    Activations of a small network are a few MB each: by default every one is mapped, faulted in page by page and
    unmapped again, which took 8 % of nano's time on a CPU. Up to 256 MB of freed memory stays with the process. Does
    nothing where the C library is another, or where MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ is set.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_POOLED)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_AT_TOP))
