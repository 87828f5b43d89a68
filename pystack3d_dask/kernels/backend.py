"""Arrays of NumPy or CuPy: a kernel works on whichever it is given."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.core.typing import Array

Result = TypeVar("Result")
Send = Callable[[Any], Any]
ALLOC_FAILED = 2  # of cuFFT


def namespace(array: Any) -> ModuleType:
    """Return the module, numpy or cupy, that an array is of."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy  # not at the top: an extra, and only there where arrays are of it

        return cupy  # type: ignore[no-any-return]
    return np


def to_host(array: Any) -> Array:
    """Return an array as one of numpy; one that is of numpy as it is."""
    if namespace(array) is np:
        return np.asarray(array)
    try:
        return np.asarray(array.get())
    except Exception as error:
        if not _is_no_room(error):
            raise
    # what does not lie in one piece is copied there first; rows do
    return np.stack([to_host(part) for part in array])


def to_gpu(array: Any) -> Any:
    """Return an array on the GPU: a copy, or itself if it is there."""
    import cupy

    return cupy.asarray(array)


class NoRoomError(Exception):
    """The GPU has no room for what was to be computed."""


def compute_on_gpu(compute: Callable[[Send], Result]) -> Result:
    """Return what is computed on the GPU.

    What CuPy keeps of freed memory is given back before a second attempt.

    Parameters
    ----------
    compute : callable
        Takes a function that sends an array to where the computation is to happen.

    Raises
    ------
    NoRoomError
        When the GPU has no room for it.
    """
    import cupy

    for _ in range(2):
        try:
            return compute(to_gpu)
        except Exception as error:
            if not _is_no_room(error):
                raise
            reason = str(error)
        # here: the error held on to arrays
        cupy.fft.config.clear_plan_cache()
        cupy.get_default_memory_pool().free_all_blocks()
    raise NoRoomError(reason)


def _is_no_room(error: Exception) -> bool:
    import cupy

    if isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return True
    # by name: its module is there only with the library itself
    return type(error).__name__ == "CuFFTError" and getattr(error, "result", 0) == ALLOC_FAILED


def has_gpu() -> bool:
    """Return whether CuPy is installed and finds a GPU."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())
