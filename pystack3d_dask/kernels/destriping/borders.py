"""Borders of slices that show nothing: rows and columns of a single gray level.

Registration leaves them, of another width in each slice. Their edges are upright and new in each
slice, as stripes are.
"""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace, to_host

Inside = tuple[slice, slice]


def inside_borders(image: Array) -> Inside:
    """Return the rows and columns between borders, each a row or column of one gray level.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of NumPy or CuPy.

    Returns
    -------
    tuple of slice
        All of them where nothing is left between.
    """
    whole = slice(0, image.shape[0]), slice(0, image.shape[1])
    rows = _shown(image)
    if rows.start == rows.stop:
        return whole
    # a border along one side hides one that crosses it
    columns = _shown(image[rows].swapaxes(0, 1))
    if columns.start == columns.stop:
        return whole
    return _shown(image[:, columns]), columns


def without_borders(image: Array, inside: Inside) -> Array:
    """Return an image with its inside mirrored where its borders are."""
    rows, columns = inside
    if rows == slice(0, image.shape[0]) and columns == slice(0, image.shape[1]):
        return image
    before = [(each.start, n - each.stop) for each, n in zip(inside, image.shape, strict=True)]
    padded: Array = namespace(image).pad(image[rows, columns], before, mode="symmetric")
    return padded


def with_borders(values: Array, given: Array, inside: Inside) -> Array:
    """Return values, but the given ones at borders."""
    rows, columns = inside
    whole: Array = given.astype(values.dtype)
    whole[rows, columns] = values[rows, columns]
    return whole


def _shown(image: Array) -> slice:
    """Return the rows from the first to the last one that has more than one gray level."""
    is_shown = np.flatnonzero(to_host(image.min(axis=1) < image.max(axis=1)))
    return slice(int(is_shown[0]), int(is_shown[-1]) + 1) if is_shown.size else slice(0, 0)
