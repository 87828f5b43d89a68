"""Padding: pixels that are no image, with a gray level that only fills slices up.

Black borders that an alignment left, or the surroundings of a specimen, have exactly one gray
level, and are large. Where the user names such a level, `padding` finds these pixels once, in
whole slices of the acquisition. After every correction they get their level back, and all others
that have it by chance are moved next to it (`moved_off`): so where a level of the chain was stored
between passes, whatever has that gray level is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace

LARGE = 0.005  # of the pixels of a slice: padding also where no border is near
NEXT = 1e-6  # of a gray level: next to it, and so far that rounding does not lead back
LEAST = 1e-30  # next to 0, and still a normal number in single precision
FADING = 1 / 16  # of the shorter side: over which images fade where padding begins


def padding(image: Array, levels: Sequence[float]) -> Array:
    """Return which pixels of a slice are padding.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        A whole slice of the acquisition, of numpy, any real type, without NaN.
    levels : sequence of float
        Gray levels that padding has, at least one.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        True in parts that have one of the levels, and reach an edge of the slice or are more than
        0.5 % of it; parts of different levels are seen apart.
    """
    found = np.zeros(image.shape, bool)
    for level in levels:
        has_level = has_one_of(image, [level])
        if has_level.any():
            found |= _at_edges_or_large(has_level)
    return found


def has_one_of(image: Any, levels: Sequence[float] | Array) -> Any:
    """Return where an image, or a stack, has one of some gray levels, at least one."""
    found = image == float(levels[0])
    for level in levels[1:]:
        found |= image == float(level)
    return found


def beside(level: float) -> float:
    """Return a gray level that is next to another one, above it."""
    return level + max(NEXT * abs(level), LEAST)


def moved_off(values: Any, levels: Sequence[float]) -> Any:
    """Return values, moved next to some gray levels where they have one of these.

    Parameters
    ----------
    values : ndarray of float32
        Of numpy or cupy.
    levels : sequence of float
        The gray levels.
    """
    xp = namespace(values)
    for level in levels:
        values = xp.where(values == level, values.dtype.type(beside(level)), values)
    return values


def filled_up(image: Array, where: Array) -> Array:
    """Return an image with the mean of all other pixels at some places.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of numpy or cupy.
    where : ndarray of bool, shape (rows, columns)
        The places.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        The image where these are all its pixels.
    """
    out: Array = image.astype(np.float32)
    if not where.all():
        out[where] = image[~where].mean(dtype=np.float64)
    return out


def faded(image: Array, where: Array) -> Array:
    """Return an image that fades into its mean around some places, where it has it.

    A registration would take the edges of padding for structure.

    Parameters
    ----------
    image : ndarray of float, shape (rows, columns)
        Of numpy, with its mean at these places.
    where : ndarray of bool, shape (rows, columns)
        The places.
    """
    if not where.any() or where.all():
        return image
    from scipy import ndimage  # not at the top: rarely needed, and workers start sooner

    reach = max(1, round(FADING * min(image.shape)))
    share = ndimage.uniform_filter((~where).astype(np.float32), 2 * reach + 1, mode="nearest")
    weight = (2 * share - 1).clip(0, 1)
    mean = image[~where].mean(dtype=np.float64)
    return np.asarray(mean + (image - mean) * (weight * weight * (3 - 2 * weight)), np.float32)


def keep_levels(values: Array, given: Array, levels: Sequence[float] | Array) -> Array:
    """Return values, but the given ones where these have one of some gray levels.

    Parameters
    ----------
    values, given : ndarray, equal shapes
        After a correction, and before it; both of NumPy, or both of CuPy.
    levels : sequence of float
        The gray levels.
    """
    if not len(levels):
        return values
    kept: Array = namespace(given).where(has_one_of(given, levels), given, values)
    return kept.astype(values.dtype)


def _at_edges_or_large(has_level: Array) -> Array:
    """Return the parts that reach an edge, or are large."""
    from scipy import ndimage  # not at the top: rarely needed, and workers start sooner

    parts, count = ndimage.label(has_level)
    is_kept = np.bincount(parts.ravel(), minlength=count + 1) > LARGE * has_level.size
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        is_kept[edge] = True
    is_kept[0] = False
    return np.asarray(is_kept[parts])
