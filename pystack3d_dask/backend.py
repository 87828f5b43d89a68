"""Arrays of NumPy or CuPy: a kernel works on whichever it is given."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from pystack3d_dask.spec import Array


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


def has_gpu() -> bool:
    """Return whether CuPy is installed and finds a GPU."""
    try:
        import cupy
    except ImportError:
        return False
    return bool(cupy.is_available())
