"""Memory that was freed goes back to the system, which some C libraries do not do by themselves."""

import ctypes
import sys


def give_back() -> None:
    """Return what was freed, on Linux: else a process that works again and again holds ever more."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)  # of glibc; others have none
