"""Algebra of transformations: 3 x 3 matrices on (x, y, 1), from output to input coordinates.

Coordinates are pixel centers, (0, 0) being that of the pixel at the top left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.intensity.running_mean import running_window


def identities(*shape: int) -> Array:
    """Return identity matrices, shape ``(*shape, 3, 3)``."""
    return np.tile(np.eye(3), (*shape, 1, 1))


def moved(matrices: Array, rows: float, columns: float) -> Array:
    """Return transformations as seen in an image whose origin lies elsewhere.

    Parameters
    ----------
    matrices : ndarray, shape (..., 3, 3)
        In the coordinates of one image.
    rows, columns : float
        Where the other image's first pixel lies in that image.

    Returns
    -------
    ndarray, shape (..., 3, 3)
        ``S(-origin) . matrix . S(origin)``.
    """
    origin = np.array([columns, rows])
    result = np.array(matrices, np.float64)
    result[..., :2, 2] += result[..., :2, :2] @ origin - origin
    return result


def without_small_shifts(pairwise: Array, limit: float = 1.0) -> Array:
    """Return pairwise transformations with translation components below ``limit`` left out."""
    result = np.array(pairwise, np.float64)
    shifts = result[..., :2, 2]
    shifts[np.abs(shifts) < limit] = 0
    return result


def motion(matrices: Array, centers: Array) -> Arrays:
    """Return what transformations do to points, such as the center of the image.

    Parameters
    ----------
    matrices : ndarray, shape (slices, blocks, 3, 3)
        Transformations.
    centers : ndarray, shape (blocks, 2)
        The point of each block, (x, y).

    Returns
    -------
    dict of ndarray, shape (slices, blocks)
        ``x`` and ``y``, by how many pixels the point moves to the right and down;
        ``rotation``, in degrees, clockwise on screen; ``scale``, along one axis.
    """
    linear, shift = matrices[..., :2, :2], matrices[..., :2, 2]
    moved_by = np.einsum("zbij,bj->zbi", linear, centers) + shift - centers
    return {
        "x": moved_by[..., 0],
        "y": moved_by[..., 1],
        "rotation": np.degrees(np.arctan2(linear[..., 1, 0], linear[..., 0, 0])),
        "scale": np.sqrt(np.abs(np.linalg.det(linear))),
    }


def motion_panels(matrices: Array, centers: Array) -> dict[str, dict[str, Array]]:
    """Return `motion` as panels of a chart, without those in which nothing happens."""
    found = motion(matrices, centers)
    labels = {"x": "x, pixels", "y": "y, pixels", "rotation": "rotation, °", "scale": "scale"}
    still = {"rotation": 0.0, "scale": 1.0}
    blocks = matrices.shape[1]
    return {
        label: {f"block {b + 1}" if blocks > 1 else "": found[key][:, b] for b in range(blocks)}
        for key, label in labels.items()
        if key not in still or not np.allclose(found[key], still[key], rtol=0, atol=1e-9)
    }


def cumulated(pairwise: Array) -> Array:
    """Return each slice's transformation to the frame of the first one.

    Parameters
    ----------
    pairwise : ndarray, shape (slices, blocks, 3, 3)
        From coordinates in the slice before to those in the slice itself.

    Returns
    -------
    ndarray, same shape
        ``C[0] = I``, ``C[k] = T[k] . C[k - 1]``.
    """
    result = identities(*pairwise.shape[:2])
    for k in range(1, len(pairwise)):
        result[k] = pairwise[k] @ result[k - 1]
    return result


def with_drift(cumulative: Array, drift: Sequence[float]) -> Array:
    """Return transformations that leave a motion of ``(dx, dy)`` pixels per slice in."""
    result = np.array(cumulative, np.float64)
    result[..., :2, 2] -= np.arange(len(result))[:, None, None] * np.asarray(drift)
    return result


def without_trend(cumulative: Array, box: int) -> Array:
    """Return transformations less their running mean over slices: only jitter is left.

    Parameters
    ----------
    cumulative : ndarray, shape (slices, blocks, 3, 3)
        From the frame of the first slice.
    box : int
        Slices averaged, ``k - box // 2`` to ``k - box // 2 + box - 1``, reflecting at the
        ends with the outer slices repeated.

    Returns
    -------
    ndarray, same shape
        ``C[k] + I - mean``, entry by entry.
    """
    count = len(cumulative)
    result = np.empty(cumulative.shape)
    for k in range(count):
        mean = cumulative[running_window(k, box, count)].mean(axis=0)
        result[k] = cumulative[k] + np.eye(3) - mean
    return result
