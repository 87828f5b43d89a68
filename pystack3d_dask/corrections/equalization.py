"""Histogram equalization: every gray level becomes as frequent as the others.

Method: Gonzalez and Woods, Digital Image Processing, section 3.3; the values are those of
`skimage.exposure.equalize_hist`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, fitted_in_rounds, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.levels import full_range
from pystack3d_dask.corrections.scoped import Scoped
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.histograms import (
    added_counts,
    bin_centers,
    check_bins,
    count_levels,
    extremes,
    limits_of,
    widest,
)
from pystack3d_dask.kernels.intensity.quantiles import Limits
from pystack3d_dask.kernels.jit import compiled


@dataclass(frozen=True, kw_only=True)
class Equalization(Scoped):
    """Map each gray level to the share of pixels that are as dark or darker.

    Black and white are the ends of the type of the acquisition, 0 and 1 of a stack of
    floats.

    Parameters
    ----------
    scope : {"stack", "slice"}
        The histogram of the whole stack, or of each slice: then a slice that shows
        something else gets other gray levels for the same material.
    nbins : int
        Bins of the histogram of a stack of floats, between its smallest and its largest
        value. Integers are counted level by level.

    Notes
    -----
    The range of a stack of floats takes one more look at it. A stack, or slice, of a
    single gray level stays as it is.
    """

    name: ClassVar[str] = "equalization"
    purpose: ClassVar[str] = "exposure: histogram equalization, of the stack or of each slice"
    usual_place: ClassVar[int] = 110
    template: ClassVar[str] = """\
scope = "stack"                 # the histogram of all slices; "slice": of each
"""
    nanoseconds: ClassVar[float] = 3.0

    nbins: int = 256

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from check_bins(f"{self.name}.nbins", self.nbins)

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        """Return what the histogram of a slice takes: all levels, or a part that numpy sorts."""
        if self.scope == "stack":
            return 0
        return 48 << 8 * spec.source_dtype.itemsize if spec.is_integer else 2 << 20

    def fit_rounds(self, spec: StackSpec) -> int:
        return 1 if spec.is_integer else 2

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        return {z: self._count(image, block.spec, partial) for z, image in block.image_pixels()}

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        if spec.is_integer:
            levels, counts = added_counts(summaries.values(), spec.source_dtype)
            return _cumulative(levels, counts)
        if partial is None:
            return widest(summaries.values())
        counts = np.zeros(self.nbins, np.int64)
        for summary in summaries.values():
            counts += summary["counts"]
        return _cumulative(bin_centers(limits_of(partial), self.nbins), counts)

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        values = np.empty(block.values.shape, block.spec.arithmetic)
        for image, (_, own), result in zip(block.values, block.image_pixels(), values, strict=True):
            fit = known(fitted) if self.scope == "stack" else self._fit_slice(own, block.spec)
            equalize(image, fit, full_range(block.spec), result)
        return block.inside(values), {}

    def _fit_slice(self, image: Array, spec: StackSpec) -> Arrays:
        alone = Region.full((1, *image.shape))
        block = Block(image[np.newaxis], alone, alone, spec)
        return fitted_in_rounds(self, spec, lambda _, partial: self.summarize(block, partial))

    def _count(self, image: Array, spec: StackSpec, partial: Arrays | None) -> Arrays:
        if spec.is_integer:
            return count_levels(image, spec.source_dtype)
        if partial is None:
            return extremes(image)
        low, high = limits_of(partial)
        if not low < high:
            return {"counts": np.zeros(self.nbins, np.int64)}
        return {"counts": np.histogram(image, self.nbins, (low, high))[0]}


def equalize(image: Array, fit: Arrays, ends: Limits, out: Array) -> None:
    """Write a slice with other gray levels.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    fit : dict of ndarray
        ``levels``, equally spaced, and ``share``, the part of the pixels that are not
        brighter; empty where nothing is to be changed.
    ends : tuple of float
        What the shares 0 and 1 become.
    out : ndarray, shape (rows, columns)
        Receives the result.
    """
    levels, share = fit["levels"], fit["share"]
    if not len(levels):
        out[:] = image
        return
    black, white = ends
    distance = float(levels[-1] - levels[0]) / (len(levels) - 1)
    _look_up(image, float(levels[0]), 1 / distance, black + share * (white - black), out)


def _cumulative(levels: Array, counts: Array) -> Arrays:
    if np.count_nonzero(counts) < 2:
        return {"levels": np.zeros(0), "share": np.zeros(0)}
    total = np.cumsum(counts)
    return {"levels": levels.astype(np.float64), "share": total / total[-1]}


@compiled()
def _look_up(image: Array, first: float, scale: float, table: Array, out: Array) -> None:
    """Interpolate between the entries of a table, and take its ends beyond them."""
    last = table.size - 1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            place = (float(image[y, x]) - first) * scale
            place = min(max(place, 0.0), float(last))
            below = min(int(place), last - 1)
            part = place - below
            out[y, x] = table[below] * (1.0 - part) + table[below + 1] * part
