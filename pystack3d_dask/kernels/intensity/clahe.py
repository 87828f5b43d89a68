"""Tiles of a stack, their histograms, and gray level maps that blend from tile to tile.

Method: contrast limited adaptive histogram equalization (Zuiderveld, Graphics Gems IV,
1994, chapter VIII.5), in three dimensions. Tiles are fixed to the stack and histograms are
counts, so that nothing depends on how the stack is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays, Triple
from pystack3d_dask.kernels.background.grid_cells import neighbors
from pystack3d_dask.kernels.intensity.quantiles import Limits
from pystack3d_dask.kernels.jit import compiled


@dataclass(frozen=True)
class Tiles:
    """A stack divided into boxes that are equal but for a voxel.

    Parameters
    ----------
    counts : tuple of int
        Tiles along z, y and x.
    shape : tuple of int
        Shape of the stack.
    """

    counts: Triple
    shape: Triple

    @cached_property
    def edges(self) -> tuple[Array, Array, Array]:
        """Where tiles begin and end along z, y and x."""
        z, y, x = (
            np.arange(count + 1) * extent // count
            for count, extent in zip(self.counts, self.shape, strict=True)
        )
        return z, y, x

    def of_voxels(self, axis: int) -> Array:
        """Return the tile of each voxel of an axis."""
        return np.repeat(np.arange(self.counts[axis]), np.diff(self.edges[axis]))

    def around(self, axis: int, start: int, stop: int) -> tuple[Array, Array, Array]:
        """Return the tiles between whose centers voxels lie, and the weight of the second."""
        edges = self.edges[axis]
        return neighbors((edges[:-1] + edges[1:] - 1) / 2, np.arange(start, stop))


@dataclass(frozen=True)
class Bins:
    """Gray levels in equal steps; those beyond count in the outer ones.

    Parameters
    ----------
    count : int
        Number of bins.
    limits : tuple of float
        Where the first begins and the last ends.
    """

    count: int
    limits: Limits

    @property
    def scale(self) -> float:
        """Bins per gray level; without a range all values are in the first one."""
        low, high = self.limits
        return self.count / (high - low) if low < high else 0.0


def count_tiles(image: Array, tiles: Tiles, bins: Bins, left_out: Array | None = None) -> Array:
    """Return the histogram of each tile in one slice.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    tiles, bins : Tiles, Bins
        What is counted where.
    left_out : ndarray of bool, shape (rows, columns), optional
        Pixels that do not count.

    Returns
    -------
    ndarray of int32, shape (tiles along y, tiles along x, bins)
    """
    counts = np.zeros((*tiles.counts[1:], bins.count), np.int32)
    tile_y, tile_x = tiles.of_voxels(1), tiles.of_voxels(2)
    _count(image, tile_y, tile_x, bins.limits[0], bins.scale, counts)
    if left_out is not None:
        y, x = np.nonzero(left_out)
        places = (image[y, x].astype(float) - bins.limits[0]) * bins.scale
        own = places.clip(0, bins.count - 1).astype(int)
        np.subtract.at(counts, (tile_y[y], tile_x[x], own), 1)
    return counts


def tile_maps(slices: Mapping[int, Arrays], tiles: Tiles, clip_limit: float) -> Array:
    """Return the map of each tile: the share of its pixels that are not brighter than a bin.

    Parameters
    ----------
    slices : mapping of int to dict
        By slice, the histograms of its tiles as ``counts``, an array of integers, shape (tiles
        along y, tiles along x, bins); one is held at a time. Some slices may be missing: tiles
        without any take those of the nearest one.
    tiles : Tiles
        The tiles.
    clip_limit : float
        See `clipped`.

    Returns
    -------
    ndarray of float32, shape (tiles along z, along y, along x, bins)
    """
    there = np.array(list(slices))
    maps = []
    for start, stop in pairwise(tiles.edges[0].tolist()):
        inside = there[(there >= start) & (there < stop)]
        if not inside.size:
            inside = there[[np.argmin(np.abs(there - (start + stop - 1) / 2))]]
        first, *others = inside.tolist()
        counts = slices[first]["counts"].astype(np.int64)
        for z in others:
            counts += slices[z]["counts"]
        counts = _with_neighbors(counts)
        share = np.cumsum(clipped(counts, clip_limit), axis=-1)
        maps.append((share / share[..., -1:]).astype(np.float32))
    return np.stack(maps)


def _with_neighbors(counts: Array) -> Array:
    """Return histograms of tiles; those without a pixel are like the nearest one."""
    is_empty = np.asarray(~counts.any(axis=-1))
    if not is_empty.any() or is_empty.all():
        return counts + is_empty[..., np.newaxis]
    from scipy import ndimage  # not at the top: rarely needed, and workers start sooner

    nearest = ndimage.distance_transform_edt(is_empty, return_distances=False, return_indices=True)
    return np.asarray(counts[tuple(nearest)])


def clipped(counts: Array, clip_limit: float) -> Array:
    """Cut the peaks of histograms, and spread evenly over the other bins what is cut off.

    A bin that is filled up by this takes no more, so that none surpasses the limit in the
    end: the limit of Zuiderveld's repeated redistribution, not rounded to counts.

    Parameters
    ----------
    counts : ndarray of int, shape (..., bins)
        None of them empty.
    clip_limit : float
        Largest share of the pixels that a bin may have; one that all bins together cannot
        reach makes them equal.

    Returns
    -------
    ndarray of float64, shape (..., bins)
        With the same sums.
    """
    total = counts.sum(axis=-1, keepdims=True).astype(np.float64)
    limit = total * max(clip_limit, 1 / counts.shape[-1])
    rise = np.zeros_like(total)
    while True:
        found: Array = np.minimum(counts + rise, limit)
        is_free = found < limit
        lacking = total - found.sum(axis=-1, keepdims=True)
        free = is_free.sum(axis=-1, keepdims=True)
        if not np.any((lacking > 1e-9 * total) & (free > 0)):
            return found
        rise += np.where(free > 0, lacking / np.maximum(free, 1), 0.0)


def blend(
    image: Array, maps: Array, tiles: Tiles, bins: Bins, at: Triple, ends: Limits, out: Array
) -> None:
    """Map part of a slice, linearly between the maps of the tiles around each pixel.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    maps : ndarray, shape (tiles along z, along y, along x, bins)
        From `tile_maps`.
    tiles, bins : Tiles, Bins
        Those of the maps.
    at : tuple of int
        Slice, row and column of its first pixel in the stack.
    ends : tuple of float
        What the shares 0 and 1 become.
    out : ndarray of float, shape (rows, columns)
        Receives the result.
    """
    (before,), (after,), (weight,) = tiles.around(0, at[0], at[0] + 1)
    here = maps[before] * (1.0 - weight) + maps[after] * weight
    y, x = (tiles.around(k, at[k], at[k] + n) for k, n in enumerate(image.shape, 1))
    _blend(image, here, *y, *x, bins.limits[0], bins.scale, *ends, out)


@compiled()
def _count(
    image: Array, tile_y: Array, tile_x: Array, first: float, scale: float, counts: Array
) -> None:
    last = counts.shape[2] - 1
    for y in range(image.shape[0]):
        row = counts[tile_y[y]]
        for x in range(image.shape[1]):
            place = (float(image[y, x]) - first) * scale
            row[tile_x[x], int(min(max(place, 0.0), float(last)))] += 1


@compiled()
def _blend(
    image: Array,
    maps: Array,
    top: Array,
    bottom: Array,
    weight_y: Array,
    left: Array,
    right: Array,
    weight_x: Array,
    first: float,
    scale: float,
    black: float,
    white: float,
    out: Array,
) -> None:
    last = maps.shape[2] - 1
    for y in range(image.shape[0]):
        v = weight_y[y]
        above, below = maps[top[y]], maps[bottom[y]]
        for x in range(image.shape[1]):
            place = (float(image[y, x]) - first) * scale - 0.5  # from the center of a bin
            place = min(max(place, 0.0), float(last))
            k = min(int(place), last - 1)
            part, u = place - k, weight_x[x]
            i, j = left[x], right[x]
            one = (1.0 - v) * above[i, k] + v * below[i, k]
            one = (1.0 - u) * one + u * ((1.0 - v) * above[j, k] + v * below[j, k])
            two = (1.0 - v) * above[i, k + 1] + v * below[i, k + 1]
            two = (1.0 - u) * two + u * ((1.0 - v) * above[j, k + 1] + v * below[j, k + 1])
            out[y, x] = black + ((1.0 - part) * one + part * two) * (white - black)
