"""How far a corrected stack is from the truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pystack3d_dask.core.typing import Array
from pystack3d_dask.demo.fields import VOXEL_SIZE
from pystack3d_dask.demo.stack import ORIGIN, DemoStack, View
from pystack3d_dask.errors import ParameterError, Problem


@dataclass(frozen=True)
class Score:
    """How far a stack is from the truth, in gray levels of the truth; 0 is perfect.

    Parameters
    ----------
    rmse : float
        Root mean square difference after the best gain and offset for the whole stack.
    jumps : float
        Root mean square change of the mean difference from one slice to the next.
    """

    rmse: float
    jumps: float


def score(corrected: Iterable[Array], truth: Iterable[Array]) -> Score:
    """Compare a stack with the truth in one pass, a slice of each at a time.

    Parameters
    ----------
    corrected, truth : iterable of numpy.ndarray
        As many slices of equal shapes (y, x).

    Returns
    -------
    Score
        Independent of gain and offset of ``corrected``.
    """
    products = np.zeros((3, 3))
    means = []
    for image, true in zip(corrected, truth, strict=True):
        values = np.stack([np.ones(true.size), image.ravel(), true.ravel()])
        products += values @ values.T
        means.append(values.mean(axis=1))
    fit = np.linalg.lstsq(products[:2, :2], products[:2, 2])[0]
    weights = np.array([*fit, -1.0])
    mean_square = weights @ products @ weights / products[0, 0]
    steps = np.diff(np.array(means) @ weights)
    return Score(
        rmse=float(np.sqrt(max(0.0, mean_square))),
        jumps=float(np.sqrt(np.mean(np.square(steps)))) if steps.size else 0.0,
    )


def score_result(
    result: xr.DataArray | Iterable[Array],
    stack: DemoStack,
    *,
    origin: tuple[int, int] | None = None,
    z: Iterable[float] | None = None,
) -> Score:
    """Compare a result with the truth, where the two overlap.

    Parameters
    ----------
    result : DataArray with dims (z, y, x), or iterable of arrays of shape (y, x)
        What this or any other program made of the slices.
    stack : DemoStack
        What they were made of.
    origin : tuple of int, optional
        Row and column of the first slice that the first pixel of the result shows; by
        default from the coordinates, or (0, 0) without any.
    z : iterable of float, optional
        Depth of each slice of the result in micrometers; by default from the coordinates,
        or where resampling puts them, `DemoStack.truth_z`.

    Raises
    ------
    ParameterError
        When result and truth have no pixel in common.
    """
    if isinstance(result, xr.DataArray):
        top, left = (_first_pixel(result[axis]) for axis in ("y", "x"))
        origin = origin or (top, left)
        z = result["z"].values if z is None else z
        result = (each.values for each in result)
    first, slices = _peeked(result)
    inside, view = _common(first.shape, origin or (0, 0), stack.view)
    if 0 in first[inside].shape:
        message = f"found {origin}, expected a result that shows some of {stack.view}"
        raise ParameterError([Problem("origin", message)], ORIGIN)
    return score((image[inside] for image in slices), stack.truth(z, view))


def shift_error(found: Array, true: Array) -> float:
    """Return the root mean square distance of shifts from the true ones, in pixels.

    Parameters
    ----------
    found, true : ndarray, shape (slices, 2)
        Shifts against the first slice, down and to the right: `DemoStack.shifts`.
    """
    distance = np.asarray(found, dtype=float) - true
    return float(np.sqrt(np.mean(np.square(distance).sum(axis=1))))


def _first_pixel(axis: xr.DataArray) -> int:
    step = VOXEL_SIZE if axis.attrs.get("units") == "micrometer" else 1.0
    return round(float(axis.values[0]) / step)


def _peeked(images: Iterable[Array]) -> tuple[Array, Iterable[Array]]:
    """Return the first image, and all of them."""
    rest = iter(images)
    first = next(rest, None)
    if first is None:
        raise ParameterError([Problem("result", "a slice or more expected, found none")], ORIGIN)
    return first, (each for part in ([first], rest) for each in part)


def _common(shape: tuple[int, ...], origin: tuple[int, int], view: View) -> tuple[View, View]:
    """Return where a result and a view overlap, in pixels of the result and of the slices."""
    inside, seen = [], []
    for size, start, span in zip(shape, origin, view, strict=True):
        low, high = max(start, span.start), min(start + size, span.stop)
        seen.append(slice(low, max(low, high)))
        inside.append(slice(low - start, max(low, high) - start))
    return (inside[0], inside[1]), (seen[0], seen[1])
