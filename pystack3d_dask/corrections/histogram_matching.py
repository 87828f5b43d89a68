"""Brightness by histograms: each slice's histogram is matched to that of the slices around it.

Method: histogram specification (Gonzalez and Woods, Digital Image Processing, section
3.3), with the mean histogram of the stack or a running mean over slices as target, as
PyStack3D has it (Quéméré and David, JOSS 2024).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines, Maps
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, every, known
from pystack3d_dask.core.typing import Array, Arrays, Precision
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.intensity.gray_range import (
    Counted,
    GrayRange,
    all_counted,
    counted,
    gray_range,
    sample,
)
from pystack3d_dask.kernels.intensity.histograms import (
    bin_centers,
    count_levels,
    extremes,
    limits_of,
    widest,
)
from pystack3d_dask.kernels.intensity.quantiles import Limits
from pystack3d_dask.kernels.intensity.running_mean import running_window
from pystack3d_dask.kernels.jit import compiled

ALL_SLICES = -1


@dataclass(frozen=True, kw_only=True)
class HistogramMatching:
    """The method "histogram" of intensity rescaling, on one stack.

    Blank slices stay as they are and take no part in the targets of others, except in
    precision "source".

    Parameters
    ----------
    spec : StackSpec
        The stack.
    nbins : int
        Bins of the histograms.
    range_bins : tuple of float, optional
        Gray levels that the bins cover.
    filter_size : int
        Slices in the running mean that makes the target; -1 for all of them.
    """

    spec: StackSpec
    nbins: int
    range_bins: tuple[float, float] | None
    filter_size: int

    def scratch_bytes(self, region: Region) -> int:
        """Return what the map of one slice takes: arrays of its gray levels, or of its pixels."""
        spec = self.spec
        if spec.dtype.kind in "iu":
            return (40 if spec.precision == "source" else 12) << 8 * spec.dtype.itemsize
        return 24 * region.shape[1] * region.shape[2] if spec.precision == "source" else 0

    @property
    def fit_rounds(self) -> int:
        """Number of times that the stack must be seen."""
        # integers are counted value by value, so that their range needs no round of its own
        return 1 if self.spec.is_integer or self.range_bins is not None else 2

    def summary_source(self, out: Region) -> Region:
        """Return the slices that are counted."""
        return out

    def summary_scratch_bytes(self, out: Region) -> int:
        """Return what counting allocates: next to nothing."""
        return 0

    def estimate_slices(self, shown: Collection[int]) -> set[int]:
        """Return every n-th slice, and every n-th in the running means of those shown."""
        count = self.spec.shape[0]
        found = {*every(range(count)), *shown}
        if self.filter_size == ALL_SLICES:
            return found
        windows = (running_window(z, self.filter_size, count) for z in shown)
        return found.union(*(every(np.unique(window).tolist()) for window in windows))

    def summarize(self, block: Block, partial: Arrays | None) -> dict[int, Arrays]:
        """Return what is counted in slices."""
        return {z: self._count(image, partial) for z, image in block.image_pixels()}

    def finalize(self, summaries: Summaries, partial: Arrays | None) -> Arrays:
        """Return the range of the bins, and then the maps of all slices."""
        spec = self.spec
        found = self._range(summaries, partial)
        limits = found.limits
        known_range = {
            "range": np.array(limits),
            "fill": np.array(found.fill),
            "fill_share": np.array(found.share),
        }
        if self.fit_rounds == 2 and partial is None:
            return known_range
        histograms = np.zeros((spec.shape[0], self.nbins), np.int64)
        for z, summary in summaries.items():
            histograms[z] = (
                _histogram(counted(summary), limits, self.nbins, spec.precision)
                if spec.is_integer
                else summary["counts"]
            )
        target = targets(histograms, self.filter_size, spec.precision)
        return {
            **known_range,
            "histograms": histograms,
            "maps": match(histograms, target, limits),
        }

    def remarks(self, fitted: Arrays) -> Iterator[str]:
        """Yield what is taken for fill."""
        if len(fitted["fill"]):
            levels = " and ".join(f"{level:g}" for level in fitted["fill"])
            yield (
                f"gray level {levels}, of {float(fitted['fill_share']):.2g} of all "
                "pixels, is taken for fill (a border, padding) and left out of the histograms; "
                "range_bins = [min, max] says otherwise"
            )

    def apply(self, block: Block, fitted: Arrays | None) -> Array:
        """Return the slices of a block, mapped."""
        fit = known(fitted)
        low, high = limits_of(fit)
        if not low < high:
            return block.values.astype(block.spec.arithmetic)
        values: Array = namespace(block.values).empty(block.values.shape, block.spec.arithmetic)
        for k, z in enumerate(block.out.z):
            _map_slice(block.values[k], low, high, fit["maps"][z], block.spec.precision, values[k])
        return values

    def reference_outputs(self, fitted: Arrays | None) -> dict[str, Array | Arrays]:
        """Return the histograms before, wanted and after.

        The last counts each bin where its center is mapped to: exact in precision "source".
        """
        counts, wanted, after = self._histograms(known(fitted))
        return {
            "outputs/histo_orig.npy": counts,
            "outputs/histos_ref.npy": (
                wanted if self.filter_size == ALL_SLICES else wanted.astype(counts.dtype)
            ),
            "outputs/histos_final.npy": after,
        }

    def charts(self, fitted: Arrays) -> Iterator[Chart]:
        """Yield the histograms of all slices, and of some."""
        spec = self.spec
        before, wanted, after = self._histograms(fitted)
        low, high = limits_of(fitted)
        if spec.precision == "float32" and low < high:
            after = spread(before, fitted["maps"], (low, high))
        histograms = {"before": before, "target": wanted, "after": after}
        slices = spec.shape[0]
        yield Maps(
            name="histograms",
            title="Histograms of all slices",
            text="Each column is the histogram of a slice, darker where there are more pixels. "
            "Jumps before are brightness jumps; after, columns run on like those of the target.",
            maps={name: counts.T for name, counts in histograms.items()},
            x="slice",
            y="gray level",
            value="pixels",
            extent=(-0.5, slices - 0.5, low, high),
        )
        yield Lines(
            name="profiles",
            title="Histograms of three slices",
            text="The histogram after should lie on the target; where the one before has other "
            "peaks than the target, the slice shows something else and should not be matched.",
            panels={
                f"pixels, slice {z}": {name: counts[z] for name, counts in histograms.items()}
                for z in sorted({0, slices // 2, slices - 1})
            },
            x="gray level",
            positions=bin_centers((low, high), self.nbins),
        )

    def _histograms(self, fit: Arrays) -> tuple[Array, Array, Array]:
        """Return the histograms before, wanted and after, each of shape (slices, bins)."""
        counts, (low, high) = fit["histograms"], limits_of(fit)
        wanted = targets(counts, self.filter_size, self.spec.precision)
        if not low < high:
            return counts, wanted, counts
        moved = [
            np.histogram(mapped, self.nbins, (low, high), weights=own)[0]
            for mapped, own in zip(fit["maps"], counts, strict=True)
        ]
        return counts, wanted, np.array(moved).astype(counts.dtype)

    def _count(self, image: Array, partial: Arrays | None) -> Arrays:
        spec = self.spec
        if spec.is_integer:
            return count_levels(image, spec.source_dtype)
        limits = self.range_bins if partial is None else limits_of(partial)
        if limits is None:
            is_plain = spec.precision == "source"
            return extremes(image) if is_plain else {"sample": sample(image)}
        low, high = limits
        if not low < high:
            return {"counts": np.zeros(self.nbins, np.int64)}
        counted = np.clip(image, low, high) if spec.precision == "source" else image
        return {"counts": np.histogram(counted, self.nbins, (low, high))[0]}

    def _range(self, summaries: Summaries, partial: Arrays | None) -> GrayRange:
        spec = self.spec
        if self.range_bins is not None:
            return GrayRange(self.range_bins, (), 0.0)
        if partial is not None:
            fill = tuple(float(level) for level in partial["fill"])
            return GrayRange(limits_of(partial), fill, float(partial["fill_share"]))
        if spec.precision == "source" and not spec.is_integer:
            return GrayRange(limits_of(widest(summaries.values())), (), 0.0)
        whole = all_counted(summaries.values(), spec.source_dtype)
        if spec.precision == "source":
            ends = whole.levels[whole.counts > 0][[0, -1]]
            return GrayRange((float(ends[0]), float(ends[1])), (), 0.0)
        return gray_range(whole, lambda: map(counted, summaries.values()))


def targets(histograms: Array, filter_size: int, precision: Precision) -> Array:
    """Return the histogram that each slice is to have.

    Parameters
    ----------
    histograms : ndarray of int, shape (slices, bins)
        Those of the slices.
    filter_size : int
        Slices i - n//2 to i - n//2 + n - 1 are averaged, reflecting at the ends of the
        stack with the outer slices repeated; -1 averages all.
    precision : {"float32", "source"}
        "source" truncates the running mean to integers. Otherwise empty bins count one
        beforehand, like in the slice itself, so that a slice equal to its target is mapped
        to itself; and blank slices, all of one gray level, take no part: their target is
        empty.

    Returns
    -------
    ndarray of float64, shape (slices, bins)
    """
    count = len(histograms)
    weights = np.ones(count)
    if precision == "float32":
        weights = (np.count_nonzero(histograms, axis=1) > 1).astype(np.float64)
        histograms = np.maximum(histograms, 1)
    if filter_size == ALL_SLICES:
        means = np.tile(_mean(histograms, weights), (count, 1))
    else:
        means = np.empty(histograms.shape)
        for k in range(count):
            window, times = np.unique(running_window(k, filter_size, count), return_counts=True)
            means[k] = _mean(histograms[window], weights[window] * times)
        means = np.trunc(means) if precision == "source" else means
    means[weights == 0] = 0
    return means


def _mean(histograms: Array, weights: Array) -> Array:
    total = weights.sum()
    return weights @ histograms / total if total else np.zeros(histograms.shape[1])


def match(histograms: Array, target: Array, limits: tuple[float, float]) -> Array:
    """Return the gray level that the center of each bin is mapped to.

    Parameters
    ----------
    histograms, target : ndarray, shape (slices, bins)
        Those of the slices, and those that they are to have. A slice whose target is
        empty is mapped to itself.
    limits : tuple of float
        Range of the bins.

    Returns
    -------
    ndarray of float64, shape (slices, bins)
        Non-decreasing in each row.
    """
    centers = bin_centers(limits, histograms.shape[1])
    maps = np.tile(centers, (len(histograms), 1))
    for own, wanted, out in zip(np.maximum(histograms, 1), target, maps, strict=True):
        if wanted.any():
            out[:] = np.interp(_cumulative(own), _cumulative(wanted), centers)
    return maps


def spread(histograms: Array, maps: Array, limits: tuple[float, float]) -> Array:
    """Return the histograms of slices that were mapped, pixels lying evenly in their bins.

    Parameters
    ----------
    histograms : ndarray of int, shape (slices, bins)
        Those before.
    maps : ndarray, shape (slices, bins)
        What `match` returned: straight lines lead from each center of a bin to the next.
    limits : tuple of float
        Range of the bins. What is mapped beyond counts in the outer bins.

    Returns
    -------
    ndarray of float64, shape (slices, bins)
    """
    edges = np.linspace(*limits, histograms.shape[1] + 1)
    half = (edges[1] - edges[0]) / 2
    result = np.empty(histograms.shape)
    for own, mapped, out in zip(histograms, maps, result, strict=True):
        middle = (mapped[1:] + mapped[:-1]) / 2
        moved = np.concatenate([[mapped[0] - half], middle, [mapped[-1] + half]])
        below = np.interp(edges, moved, np.concatenate([[0], np.cumsum(own)]))
        below[0], below[-1] = 0, own.sum()
        out[:] = np.diff(below)
    return result


def _cumulative(histogram: Array) -> Array:
    total = np.cumsum(histogram)
    return np.asarray(total / total[-1])


def _histogram(found: Counted, limits: Limits, nbins: int, precision: Precision) -> Array:
    low, high = limits
    if not low < high:
        return np.zeros(nbins, np.int64)
    levels = np.clip(found.levels, low, high) if precision == "source" else found.levels
    return np.histogram(levels, nbins, (low, high), weights=found.counts)[0].astype(np.int64)


def _map_slice(
    image: Array, low: float, high: float, mapped: Array, precision: Precision, out: Array
) -> None:
    if image.dtype.kind not in "iu":
        _map_floats(image, low, high, mapped, precision, out)
        return
    limits = np.iinfo(image.dtype)
    levels = np.arange(limits.min, limits.max + 1, dtype=np.float64)[np.newaxis]
    table = np.empty(levels.shape, out.dtype)
    _map_floats(levels, low, high, mapped, precision, table)
    xp = namespace(image)
    if xp is np:
        _look_up(image, limits.min, table[0], out)
    else:
        out[:] = xp.asarray(table[0])[image.astype(np.int64) - int(limits.min)]


def _map_floats(
    image: Array, low: float, high: float, mapped: Array, precision: Precision, out: Array
) -> None:
    nbins, xp = len(mapped), namespace(image)
    if precision == "source":
        position = xp.floor((image.astype(np.float64) - low) / (high - low) * nbins)
        out[:] = xp.asarray(mapped)[position.clip(0, nbins - 1).astype(np.intp)]
        return
    # straight lines between the centers; beyond the outer ones values keep their distance
    width = (high - low) / nbins
    centers = low + (np.arange(nbins) + 0.5) * width
    slopes = np.concatenate([[1.0], np.diff(mapped) / width, [1.0]])
    knots = np.concatenate([[0], np.arange(nbins)])
    intercepts = mapped[knots] - slopes * centers[knots]
    interpolate = _interpolate if xp is np else interpolate_on_arrays
    interpolate(image, float(centers[0] - width), 1 / width, intercepts, slopes, out)


@compiled()
def _look_up(image: Array, first: int, table: Array, out: Array) -> None:
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = table[np.int64(image[y, x]) - first]


@compiled()
def _interpolate(
    image: Array, origin: float, scale: float, intercepts: Array, slopes: Array, out: Array
) -> None:
    last = float(slopes.size - 1)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = np.float64(image[y, x])
            line = int(min(max((value - origin) * scale, 0.0), last))
            out[y, x] = intercepts[line] + slopes[line] * value


def interpolate_on_arrays(
    image: Any, origin: float, scale: float, intercepts: Array, slopes: Array, out: Any
) -> None:
    """Map gray levels by straight lines, on an image and to a result of numpy or cupy.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Gray levels.
    origin, scale : float
        Level at which the first line begins, and lines per level. The first and the last one
        go on beyond.
    intercepts, slopes : ndarray of float64, shape (lines,)
        The lines.
    out : ndarray of float, shape (rows, columns)
        Receives the result.
    """
    xp, values = namespace(image), image.astype(np.float64)
    line = ((values - origin) * scale).clip(0, len(slopes) - 1).astype(np.intp)
    out[:] = xp.asarray(intercepts)[line] + xp.asarray(slopes)[line] * values
