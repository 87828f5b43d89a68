"""A slowly varying background, as the masked mean over a 3D window around each pixel.

Normalized convolution (Knutsson and Westin, CVPR 1993, section 3): the background is the
smoothed sum of the pixels that count, over the smoothed number of them. Sums are taken
over cells, an eighth of the window wide, smoothed by a Gaussian that ends at the window,
and interpolated back to pixels. Cells lie on a grid that is fixed to the stack, so the
result does not depend on how the stack is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, known
from pystack3d_dask.core.typing import Array, Arrays, Triple
from pystack3d_dask.kernels.background.grid_cells import cell_sums, neighbors
from pystack3d_dask.kernels.intensity.masks import within
from pystack3d_dask.kernels.jit import compiled

CELLS_PER_WINDOW = 8
SIGMAS_PER_WINDOW = 4.0  # the window ends two standard deviations from its center


@dataclass(frozen=True)
class Window:
    """The window in voxels, axis order (z, y, x).

    Parameters
    ----------
    size : tuple of float
        Full widths, at least 1.
    shape : tuple of int
        Shape of the stack.
    cells : int
        How many cells lie in its height and in its width.
    grain : int
        Pixels of which heights and widths of cells are multiples.
    """

    size: tuple[float, float, float]
    shape: Triple
    cells: int = CELLS_PER_WINDOW
    grain: int = 1

    @cached_property
    def cell(self) -> Triple:
        """Extent of a cell, at most that of the stack; slices are never pooled."""
        y, x = (
            min(max(1, round(size / self.cells / self.grain)) * self.grain, extent)
            for size, extent in zip(self.size[1:], self.shape[1:], strict=True)
        )
        return 1, y, x

    @cached_property
    def reach(self) -> Triple:
        """How many cells, of those there are, the window extends to each side."""
        z, y, x = (
            min(int(size / 2 / cell), count)
            for size, cell, count in zip(self.size, self.cell, self._cells, strict=True)
        )
        return z, y, x

    def weights(self, axis: int) -> Array:
        """Return the Gaussian over the cells of one axis, ``2 * reach + 1`` of them."""
        distance = np.arange(-self.reach[axis], self.reach[axis] + 1) * self.cell[axis]
        sigma = self.size[axis] / SIGMAS_PER_WINDOW
        return np.exp(-0.5 * (distance / sigma) ** 2)

    def cells_around(self, out: Region) -> Region:
        """Return the cells between whose centers the pixels of ``out`` lie."""
        _, y, x = self.cell
        start = (out.start[0], out.start[1] // y - 1, out.start[2] // x - 1)
        stop = (out.stop[0], (out.stop[1] - 1) // y + 2, (out.stop[2] - 1) // x + 2)
        return Region(start, stop).clipped(self._cells)

    def source(self, out: Region) -> Region:
        """Return the voxels that ``out`` needs: whole cells, with the halo of the window."""
        cells = self.cells_around(out).grown(self.reach, self.reach).clipped(self._cells)
        _, y, x = self.cell
        start, stop = cells.start, cells.stop
        return Region(
            (start[0], start[1] * y, start[2] * x), (stop[0], stop[1] * y, stop[2] * x)
        ).clipped(self.shape)

    def centers(self, axis: int, start: int, stop: int) -> Array:
        """Return the centers of some cells of an axis, in voxels; the last cell may be cut."""
        edges = np.minimum(np.arange(start, stop + 1) * self.cell[axis], self.shape[axis])
        return np.asarray((edges[:-1] + edges[1:] - 1) / 2)

    @property
    def _cells(self) -> Triple:
        z, y, x = (-(-n // c) for n, c in zip(self.shape, self.cell, strict=True))
        return z, y, x


@dataclass(frozen=True, kw_only=True)
class LocalBackground:
    """The method "local" of the background removal, on one stack.

    The mean of the whole stack's unmasked pixels is kept.

    Parameters
    ----------
    spec : StackSpec
        The stack.
    window : Window
        The window.
    low, high : float
        Thresholds, inclusive.
    corrects_all : bool
        Pixels beyond them are corrected, too, where some within lie in their window.
    """

    spec: StackSpec
    window: Window
    low: float
    high: float
    corrects_all: bool

    def source(self, out: Region) -> Region:
        """Return the region that ``out`` needs."""
        return self.window.source(out)

    def scratch_bytes(self, region: Region) -> int:
        """Return what is allocated beside the output: sums over cells, or background and copies."""
        bytes_out = self.spec.arithmetic.itemsize
        masked = self.low > -np.inf or self.high < np.inf
        copies = region.size * (4 + bytes_out + (bytes_out + 2 if masked else 0))
        source, (_, cell_y, cell_x) = self.window.source(region).shape, self.window.cell
        cells = -(-source[1] // cell_y) * -(-source[2] // cell_x)
        # smoothing along z holds the sums twice, and twice again the slices that are left
        sums = 4 * 8 * cells * (source[0] + region.shape[0])
        return max(copies, sums - region.size * bytes_out)

    def summary_source(self, out: Region) -> Region:
        """Return all slices: each counts for the mean."""
        return out

    def summarize(self, image: Array, z: int) -> Arrays | None:
        """Return the sum and the number of the pixels that count."""
        mask = within(image, self.low, self.high)
        pixels = image if mask is None else image[mask]
        return {"count": np.array(pixels.size), "total": np.array(pixels.sum(dtype=np.float64))}

    def finalize(self, summaries: Summaries) -> Arrays:
        """Return the mean of the stack."""
        count = sum(int(summary["count"]) for summary in summaries.values())
        total = sum(float(summary["total"]) for summary in summaries.values())
        return {"level": np.array(total / count if count else 0.0)}

    def apply(
        self, block: Array, source: Region, out: Region, fitted: Arrays | None
    ) -> tuple[Array, Arrays]:
        """Return the corrected block."""
        background = local_mean(block, source, out, self.window, self.low, self.high)
        values = block[out.relative_to(source).slices].astype(self.spec.arithmetic)
        corrected = values - background + values.dtype.type(known(fitted)["level"])
        mask = within(values, self.low, self.high)
        if mask is not None and self.corrects_all:
            mask = ~np.isnan(background)
        return corrected if mask is None else np.where(mask, corrected, values), {}


def local_mean(
    block: Array, source: Region, out: Region, window: Window, low: float, high: float
) -> Array:
    """Return the background at the pixels of ``out``.

    Parameters
    ----------
    block : ndarray, shape ``source.shape``
        Gray levels of ``source``, which is ``window.source(out)``.
    source, out : Region
        In voxels of the stack.
    window : Window
        The window.
    low, high : float
        Only pixels between these, inclusive, count.

    Returns
    -------
    ndarray of float32, shape ``out.shape``
        NaN where no pixel of the window counts.
    """
    _, cell_y, cell_x = window.cell
    sums = np.stack([cell_sums(image, cell_y, cell_x, low, high) for image in block], axis=1)
    cells = window.cells_around(out)
    first = (source.start[0], source.start[1] // cell_y, source.start[2] // cell_x)
    for axis in range(3):
        sums = smoothed(sums, window, axis, first[axis], cells.start[axis], cells.stop[axis])
    return interpolated(sums[0], sums[1], window, out)


def interpolated(total: Array, count: Array, window: Window, out: Region) -> Array:
    """Return the ratio of two values of cells at the pixels of ``out``.

    Parameters
    ----------
    total, count : ndarray, shape (slices of ``out``, cells along y, cells along x)
        Those of the cells around ``out``.
    window : Window
        It knows the cells.
    out : Region
        In voxels of the stack.

    Returns
    -------
    ndarray of float32, shape ``out.shape``
        NaN where ``count`` is 0.
    """
    cells = window.cells_around(out)
    y, x = (
        neighbors(
            window.centers(axis, cells.start[axis], cells.stop[axis]),
            np.arange(out.start[axis], out.stop[axis]),
        )
        for axis in (1, 2)
    )
    background = np.empty(out.shape, np.float32)
    for k, image in enumerate(background):
        _interpolate(total[k], count[k], *y, *x, image)
    return background


def smoothed(sums: Array, window: Window, axis: int, first: int, start: int, stop: int) -> Array:
    """Return weighted sums over the window along one axis.

    Parameters
    ----------
    sums : ndarray, shape (any, cells along z, y, x)
        Of cells from ``first`` on.
    window : Window
        The weights.
    axis : int
        0 for z, 1 for y, 2 for x.
    first, start, stop : int
        The first cell of ``sums``, and the cells ``start:stop`` of the result.
    """
    weights, reach = window.weights(axis), window.reach[axis]
    sums = np.moveaxis(sums, axis + 1, 0)
    before = max(0, first - (start - reach))
    after = max(0, stop + reach - (first + len(sums)))
    sums = np.pad(sums, [(before, after), (0, 0), (0, 0), (0, 0)])
    offset = start - reach - first + before
    smooth = np.zeros((stop - start, *sums.shape[1:]))
    for k, weight in enumerate(weights):
        smooth += weight * sums[offset + k : offset + k + stop - start]
    return np.moveaxis(smooth, 0, axis + 1)


@compiled()
def _interpolate(
    total: Array,
    count: Array,
    top: Array,
    bottom: Array,
    weight_y: Array,
    left: Array,
    right: Array,
    weight_x: Array,
    out: Array,
) -> None:
    rows, columns = out.shape
    for y in range(rows):
        v = weight_y[y]
        totals = total[top[y]] * (1.0 - v) + total[bottom[y]] * v
        counts = count[top[y]] * (1.0 - v) + count[bottom[y]] * v
        for x in range(columns):
            u = weight_x[x]
            n = totals[left[x]] * (1.0 - u) + totals[right[x]] * u
            d = counts[left[x]] * (1.0 - u) + counts[right[x]] * u
            out[y, x] = n / d if d > 0 else np.nan
