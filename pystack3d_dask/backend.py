"""Arrays of NumPy or CuPy: a kernel works on whichever it is given."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.spec import Array

Result = TypeVar("Result")
Send = Callable[[Any], Any]


def namespace(array: Any) -> ModuleType:
    """Return the module, numpy or cupy, that an array is of."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy  # not at the top: an extra, and only there where arrays are of it

        return cupy  # type: ignore[no-any-return]
    return np


def to_host(array: Any) -> Array:
    """Return an array as one of numpy; one that is of numpy as it is."""
    return array if namespace(array) is np else np.asarray(array.get())


def to_gpu(array: Any) -> Any:
    """Return a copy of an array on the GPU; one that is there as it is."""
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
        except cupy.cuda.memory.OutOfMemoryError as error:
            reason = str(error)
        cupy.get_default_memory_pool().free_all_blocks()  # here: the error held on to arrays
    raise NoRoomError(reason)


def has_gpu() -> bool:
    """Return whether CuPy is installed and finds a GPU."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())
