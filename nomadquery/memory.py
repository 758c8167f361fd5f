"""Give memory that is not needed any more back to the system.

Allocators keep what they were given, each thread its own: without this a fetch of a hundred pages holds three
times what its pages need. Measured in decision record 12.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Have Arrow's allocator and that of the C library (glibc) give back what is free; some milliseconds."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError, TypeError):  # there is no such function elsewhere
        ctypes.CDLL(None).malloc_trim(0)
