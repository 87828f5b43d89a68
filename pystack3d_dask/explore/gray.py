"""How often gray levels occur, from a sample that is small beside the stack."""

from __future__ import annotations

from dataclasses import dataclass

import dask
import numpy as np
from numpy.typing import NDArray

from pystack3d_dask.core.typing import Array
from pystack3d_dask.explore.volume import Volume

Limits = tuple[float, float]
SLICES = 32
PIXELS = 4_000_000


@dataclass(frozen=True)
class Sample:
    """Some voxels of a volume.

    Parameters
    ----------
    values : ndarray, shape (slices, rows, columns)
        Their gray levels.
    slices : range
        Which slices were looked at.
    step : int
        Every which row and column of them.
    shape : tuple of int
        Shape of the volume.
    """

    values: Array
    slices: range
    step: int
    shape: tuple[int, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.slices)} of {self.shape[0]} slices"]
        if self.step > 1:
            parts.append(f"every {ordinal(self.step)} row and column")
        share = self.values.size / np.prod(self.shape)
        whole = "all" if share == 1 else f"{100 * share:.2g} %"
        return f"{', '.join(parts)}: {whole} of {_short(float(np.prod(self.shape)))} voxels"


@dataclass(frozen=True)
class Histogram:
    """How often gray levels occur.

    Parameters
    ----------
    edges : ndarray of float, shape (bins + 1,)
        Of integers half way between levels, and a whole number of levels apart.
    counts : ndarray of int, shape (bins,)
        Values in each bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def cumulative(self) -> NDArray[np.float64]:
        """Share of the values below the upper edge of each bin, shape (bins,)."""
        return np.asarray(np.cumsum(self.counts) / max(1, self.counts.sum()))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the values in each bin, shape (bins,)."""
        return np.asarray(self.counts / max(1, self.counts.sum()))


def sample(volume: Volume, slices: int = SLICES, pixels: int = PIXELS) -> Sample:
    """Load some voxels: evenly spread slices, and of these every n-th row and column.

    Parameters
    ----------
    volume : Volume
        The volume.
    slices : int
        Slices at most.
    pixels : int
        Voxels at most, roughly.
    """
    depth, height, width = volume.values.shape
    taken = range(0, depth, -(-depth // slices))
    step = max(1, int(np.ceil(np.sqrt(len(taken) * height * width / pixels))))
    (values,) = dask.compute(volume.values[:: taken.step, ::step, ::step])
    return Sample(np.asarray(values), taken, step, volume.values.shape)


def histogram_of(values: Array, bins: int = 256, limits: Limits | None = None) -> Histogram:
    """Count gray levels.

    Parameters
    ----------
    values : ndarray
        NaN and infinity do not count.
    bins : int
        At most; of integers as many as leave whole levels in a bin.
    limits : tuple of float, optional
        Between these; by default the smallest and the largest that occur.
    """
    values = values.ravel()
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if limits is None:
        limits = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    low, high = limits
    if values.dtype.kind == "f":
        width = max(1.0, 1e-6 * abs(low))  # of a single level, large enough to be seen beside it
        edges = np.linspace(low, high if high > low else low + width, bins + 1)
    else:
        width = -(-int(high - low + 1) // bins)
        edges = np.arange(low - 0.5, high + width, width)
    return Histogram(edges, np.histogram(values, edges)[0].astype(np.int64))


def ordinal(number: int) -> str:
    """Return 2nd, 3rd, 4th and so on."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"


def _short(count: float) -> str:
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.3g} {name}"
    return f"{count:.0f}"
