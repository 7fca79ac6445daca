"""Large arrays that are filled bit by bit.

numpy asks the system for huge pages for its own large arrays. Where memory is in pieces, as on a machine that has run for long,
the system then looks for one at each new page and seldom finds it, which takes longer than the pages' use. What is written
once and read in order gains little from huge ones.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_LARGE_BYTES = 1 << 22  # from here on numpy asks for huge pages


def zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of zeros; pages that are not written to take no memory."""
    size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size_bytes < _LARGE_BYTES:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size_bytes), dtype).reshape(shape)
