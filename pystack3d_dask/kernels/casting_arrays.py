"""Sweeps over a slice by operations on whole arrays, of numpy or cupy: those for GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace, to_host


def measure_on_arrays(image: Any) -> Array:
    """Return minimum, maximum and mean of a slice, as float64 of numpy.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type, without NaN, and not empty.
    """
    found = [image.min(), image.max(), image.mean(dtype=np.float64)]
    # together: each look at a number waits for the GPU
    return to_host(namespace(image).stack([each.astype(np.float64) for each in found]))


def fit_on_arrays(values: Any, dtype: np.dtype[Any], *, truncates: bool) -> Any:
    """Return values clipped to the range of an integer type, and rounded or truncated.

    Parameters
    ----------
    values : ndarray of float
        Without NaN.
    dtype : numpy.dtype
        The integer type.
    truncates : bool
        Round toward zero, not to nearest (halves to even).
    """
    limits = np.iinfo(dtype)
    clipped = values.clip(float(limits.min), float(limits.max))
    return (clipped if truncates else namespace(values).rint(clipped)).astype(dtype)
