"""The slices that evidence is taken from: some runs of neighbors, aligned to whole pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from pystack3d_dask.core.area import Area
from pystack3d_dask.core.spec import Region
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.source import Source
from pystack3d_dask.kernels.registration.phase_correlation import register_shift
from pystack3d_dask.preview.quality import correlation

RUNS, LENGTH = 8, 5  # runs of neighboring slices
WINDOW = 768  # rows and columns in which neighbors are compared
SMALLEST = 48  # rows and columns: less shows nothing
BLUR = 2.0  # pixels: neighbors are compared without their noise
ALIKE = 0.3  # correlation of the detail of neighbors, above which they show the same


class Pair(NamedTuple):
    """Two neighboring slices, and where they show the same.

    Parameters
    ----------
    first, second : ndarray of float32
        Blurred, equal shapes: the parts that overlap, aligned to whole pixels.
    shift : ndarray, shape (2,)
        Movement of the second against the first, (y, x) in pixels.
    """

    first: Array
    second: Array
    shift: Array


@dataclass(frozen=True)
class Sample:
    """Some slices of a stack.

    Parameters
    ----------
    runs : tuple of ndarray, each of shape (slices, rows, columns)
        The middle of neighboring slices, float32.
    overviews : tuple of ndarray, each of shape (rows, columns)
        Whole slices, from the first to the last, thinned to `WINDOW` pixels at most; NaN for
        padding.
    positions : tuple of float
        Of all slices of the stack along z, in micrometers; empty if unknown.
    """

    runs: tuple[Array, ...]
    overviews: tuple[Array, ...]
    positions: tuple[float, ...] = ()

    @property
    def contrast(self) -> float:
        """Standard deviation of a slice, in gray levels."""
        stds = [float(image.std()) for run in self.runs for image in run]
        return float(np.median(stds)) if stds else 0.0

    def pairs(self) -> Iterator[Pair]:
        """Yield all neighbors that show something and resemble each other."""
        for run in self.runs:
            for one, other in pairwise(run):
                pair = aligned(one, other)
                if pair is not None:
                    yield pair


def take_sample(source: Source, area: Area) -> Sample:
    """Read some slices of the first channel.

    Parameters
    ----------
    source : Source
        Slices that cannot be read are left out.
    area : tuple of int
        ``[xmin, xmax, ymin, ymax]`` in pixels, origin bottom left: only this part is read.
    """
    spec = source.specs[0]
    slices, rows, _ = spec.shape
    xmin, xmax, ymin, ymax = area
    top, bottom = rows - ymax, rows - ymin
    middle = Region(
        (0, *(_middle(low, high).start for low, high in ((top, bottom), (xmin, xmax)))),
        (1, *(_middle(low, high).stop for low, high in ((top, bottom), (xmin, xmax)))),
    )
    found = (_read(source, middle, run) for run in _runs(slices))
    whole = Region((0, top, xmin), (1, bottom, xmax))
    thin = max(1, -(-max(bottom - top, xmax - xmin) // WINDOW))
    shown = sorted({round(z) for z in np.linspace(0, slices - 1, min(slices, RUNS))})
    overviews = _read(source, whole, shown)
    return Sample(
        tuple(run for run in found if len(run)),
        tuple(image[::thin, ::thin] for image in overviews),
        tuple(spec.z or spec.z_metadata or ()),
    )


def aligned(one: Array, other: Array) -> Pair | None:
    """Return two slices aligned and blurred; None if they show nothing, or nothing in common."""
    if min(one.shape) < SMALLEST or not (one.std() and other.std()):
        return None
    first, second = (ndimage.gaussian_filter(each, BLUR) for each in (one, other))
    shift = register_shift(first, second)[:2, 2][::-1]
    dy, dx = (int(d) for d in np.rint(shift))
    first, second = overlapping(first, second, dy, dx)
    if min(first.shape) < SMALLEST or not (first.std() and second.std()):
        return None
    # without slow variations, which slices of different structure may share
    likeness = correlation(first[::2, ::2], second[::2, ::2])
    return Pair(first, second, shift) if likeness > ALIKE else None


def overlapping(one: Array, other: Array, dy: int, dx: int) -> tuple[Array, Array]:
    """Return the parts of two slices that overlap once the second is moved back."""
    rows, columns = one.shape
    return (
        one[max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)],
        other[max(0, dy) : rows + min(0, dy), max(0, dx) : columns + min(0, dx)],
    )


def _runs(slices: int) -> list[list[int]]:
    if slices <= RUNS * LENGTH:
        return [list(range(slices))]
    starts = np.linspace(0, slices - LENGTH, RUNS).astype(int)
    return [list(range(start, start + LENGTH)) for start in starts]


def _middle(low: int, high: int) -> slice:
    start = low + max(0, (high - low - WINDOW) // 2)
    return slice(start, min(high, start + WINDOW))


def _read(source: Source, frame: Region, slices: Sequence[int]) -> Array:
    """Return the slices that can be read; pixels that are not finite become their median."""
    found = []
    for z in slices:
        try:
            image = source.read(0, frame.with_z(z, z + 1))[0].astype(np.float32)
        except PixelError:
            continue
        is_finite = np.isfinite(image)
        if is_finite.any():
            found.append(np.where(is_finite, image, np.median(image[is_finite])))
    return np.stack(found) if found else np.empty((0, 0, 0), np.float32)
