"""Evidence for background removal: a field that all gray levels and distant slices share.

A background lifts dark and bright phases alike and stays where it is along z; the specimen
changes. So the mean gray levels of the dark and of the bright part of tiles, in the first and in
the last slices of the stack, have to show the same field; and the field of all pixels, which a
fit would remove, has to agree with it. Otherwise a fit would remove a gradient of the specimen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.core.typing import Array
from pystack3d_dask.evidence.sample import SMALLEST, Sample
from pystack3d_dask.preview.quality import correlation

TILES = 6  # along each axis
EXTREMES = (0.02, 0.98)  # quantiles of a tile: halfway between them, dark and bright part
NOTICEABLE = 0.15  # rms of the field over the contrast
CLEAR = 3.0  # rms of the field over the disagreement
UNLIKE = 0.3  # correlation of detail, below which distant slices show other structure
SAMPLES_PER_TILE = 16  # rows and columns of a tile at least


def look_for_background(sample: Sample) -> Finding:
    """Compare the fields that several gray levels and distant slices show."""
    images = [image for image in sample.overviews if image.size and image.std()]
    if len(images) < 4 or min(images[0].shape) < max(SMALLEST, TILES * SAMPLES_PER_TILE):
        return Finding(False, "not tested: too few slices, or too small ones")
    groups = [images[: len(images) // 2], images[len(images) // 2 :]]
    if correlation(groups[0][0], groups[1][-1]) > UNLIKE:
        return Finding(
            False,
            "not tested: first and last slices show the same structure, so that a background "
            "cannot be told from the specimen",
        )
    fields = np.concatenate([_fields(group) for group in groups])
    field = fields.mean(axis=0)
    size = float(np.sqrt(np.mean(field**2)))
    spread = float(np.sqrt(np.mean((fields - field) ** 2)))
    removed = _smooth(np.mean([_tiled(image, np.mean) for image in images], axis=0))
    error = float(np.sqrt(np.mean((removed - field) ** 2)))
    share = size / sample.contrast if sample.contrast else 0.0
    if share < NOTICEABLE:
        return Finding(False, f"the field over the image has {share:.0%} of the contrast")
    if size < CLEAR * max(spread, error):
        return Finding(
            False,
            f"gray levels vary over the image by {share:.0%} of the contrast, but dark and "
            "bright parts, or first and last slices, differ in it: the specimen may",
        )
    return Finding(
        True,
        f"dark and bright parts, in the first and last slices, show the same field, of "
        f"{share:.0%} of the contrast",
        {"orders": [2, 2, 0]},
    )


def _fields(images: list[Array]) -> Array:
    """Return the fields of the dark and of the bright part, shape (2, TILES, TILES)."""
    maps = np.mean([_tiled(image, _dark_and_bright) for image in images], axis=0)
    return np.stack([_smooth(each) for each in np.moveaxis(maps, -1, 0)])


def _dark_and_bright(tile: Array) -> Array:
    """Return the mean gray levels below and above the middle of those of a tile."""
    middle = np.mean(np.quantile(tile, EXTREMES))
    is_bright = tile > middle
    parts = (tile[~is_bright], tile[is_bright])
    return np.array([part.mean() if part.size else middle for part in parts])


def _tiled(image: Array, measure: Callable[[Array], Any]) -> Array:
    """Return what is measured of each tile, shape (TILES, TILES, ...)."""
    rows, columns = (np.array_split(np.arange(extent), TILES) for extent in image.shape)
    return np.array([[measure(image[np.ix_(r, c)]) for c in columns] for r in rows])


def _smooth(values: Array) -> Array:
    """Return the polynomial of second order through the tiles, without its mean."""
    t = np.linspace(-1, 1, TILES)
    powers = np.stack([t**0, t, t**2])
    basis = np.einsum("iy,jx->ijyx", powers, powers).reshape(9, -1).T
    fit = basis @ np.linalg.lstsq(basis, values.ravel())[0]
    return np.asarray(fit - fit.mean()).reshape(TILES, TILES)
