"""Slices as the search for stripes sees them: without borders and fill, whose edges are upright."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.destriping.borders import (
    Inside,
    inside_borders,
    with_borders,
    without_borders,
)
from pystack3d_dask.kernels.intensity.gray_range import fill_of_slice
from pystack3d_dask.kernels.padding import filled_up, has_one_of, keep_levels


class Seen(NamedTuple):
    """A slice without what only fills it up.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        With its inside mirrored where borders are, and the mean where other fill is.
    inside : tuple of slice
        Rows and columns between borders.
    fill : ndarray of float64
        Gray levels of other fill.
    """

    values: Array
    inside: Inside
    fill: Array

    def restored(self, values: Array, given: Array) -> Array:
        """Return corrected values, but the given ones at borders and where there is fill."""
        return keep_levels(with_borders(values, given, self.inside), given, self.fill)


def seen_of(image: Array, dtype: np.dtype[Any] | None = None) -> Seen:
    """Return a slice without what only fills it up.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of NumPy or CuPy.
    dtype : numpy.dtype, optional
        Type of the acquisition, if it is another one.
    """
    inside = inside_borders(image)
    values = without_borders(image, inside)
    fill = fill_of_slice(values, dtype or image.dtype)
    if fill.size:
        values = filled_up(values.astype(np.float32), has_one_of(values, fill))
    return Seen(values, inside, fill)
