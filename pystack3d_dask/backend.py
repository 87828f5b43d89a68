"""Arrays of NumPy or CuPy: a kernel works on whichever it is given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.spec import Array

LOG = logging.getLogger("pystack3d_dask")
Result = TypeVar("Result")


def namespace(array: Any) -> ModuleType:
    """Return the module, numpy or cupy, that an array is of."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy  # not at the top: an extra, and only there where arrays are of it

        return cupy  # type: ignore[no-any-return]
    return np


def to_host(array: Any) -> Array:
    """Return an array as one of numpy; one that is of numpy as it is."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.get())


def to_gpu(array: Array) -> Any:
    """Return a copy of an array on the GPU."""
    import cupy

    return cupy.asarray(array)


def compute_on_gpu(compute: Callable[[Any], Result], array: Array) -> Result:
    """Return what is computed from an array on the GPU; if that has no room for it, here.

    What CuPy keeps of freed memory is given back before a second attempt.

    Parameters
    ----------
    compute : callable
        Takes the array, of cupy or of numpy, and leaves nothing on the GPU.
    array : ndarray
        On the host.
    """
    import cupy

    for _ in range(2):
        try:
            return compute(to_gpu(array))
        except cupy.cuda.memory.OutOfMemoryError as error:
            reason = str(error)
        cupy.get_default_memory_pool().free_all_blocks()  # here: the error held on to arrays
    LOG.warning("%s: computed on the CPU, for the GPU has no room for it: %s", array.shape, reason)
    return compute(array)


def has_gpu() -> bool:
    """Return whether CuPy is installed and finds a GPU."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())
