"""The frequencies at which stripes show, and those that tell what is there without stripes.

Stripes along y are smooth along y: they have frequencies in a wedge around the axis of x. Slices
are made periodic first, or else their edges would have such frequencies, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace, to_host

MARGIN = 48  # rows and columns, at most, on each side in which one edge fades into the other
WEDGE = 20.0  # degrees by which stripes may lean
BROADEST = 0.02  # cycles per pixel along stripes, up to which short ones reach
UNSTRIPED = 30.0  # degrees from the axis of x, from which on nothing is of stripes
COLUMNS = 40  # groups of frequencies across stripes, at least
GROWTH = 0.25  # width of a group over the frequencies below it, at most
LOWEST, PER_OCTAVE = 4, 4  # cycles in a slice, and rings of frequencies
ROWS_SMOOTHED, GROUPS_SMOOTHED = 0.4, 0.7  # standard deviations


class Bins(NamedTuple):
    """Frequencies in groups.

    Parameters
    ----------
    places : ndarray of int
        Those that are in a group, in a flattened spectrum.
    groups : ndarray of int, same shape
        The group of each.
    counts : ndarray of int, shape (groups,)
        Frequencies of each group.
    """

    places: Array
    groups: Array
    counts: Array

    def mean(self, values: Array) -> Array:
        """Return the mean of real values, one for each frequency, over groups; 0 of none."""
        xp = namespace(values)
        taken = values.ravel()[xp.asarray(self.places)]
        total = xp.bincount(xp.asarray(self.groups), taken, len(self.counts))
        return np.asarray(to_host(total)) / np.maximum(self.counts, 1)


@dataclass(frozen=True)
class Frequencies:
    """The frequencies of slices, in groups.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of a slice, 2 or more each.
    """

    shape: tuple[int, int]

    @cached_property
    def extended(self) -> tuple[int, int]:
        """Rows and columns of a slice that is made periodic."""
        from scipy.fft import next_fast_len  # not at the top: the command line starts sooner

        rows, columns = (next_fast_len(n + 2 * min(MARGIN, n // 4), real=True) for n in self.shape)
        return rows, columns

    @property
    def spectrum(self) -> tuple[int, int]:
        """Shape of a spectrum: all frequencies along y, those from 0 on along x."""
        rows, columns = self.extended
        return rows, columns // 2 + 1

    @cached_property
    def wedge(self) -> Bins:
        """Frequencies of stripes: groups of one along y, and of some along x."""
        fy, fx = self._cycles
        reach = np.maximum(np.tan(np.deg2rad(WEDGE)) * fx, np.minimum(BROADEST, 2 * fx))
        places = np.flatnonzero((np.abs(fy) <= reach) & (fx > 0))
        _, groups, counts = np.unique(self._cells[places], return_inverse=True, return_counts=True)
        return Bins(places, groups, counts)

    @cached_property
    def rings(self) -> Bins:
        """Frequencies that are of no stripes along y, by their distance from zero."""
        fy, fx = self._cycles
        is_unstriped = np.abs(fy) > np.tan(np.deg2rad(UNSTRIPED)) * fx
        places = np.flatnonzero(is_unstriped & (fy != 0)).astype(np.int32)
        groups = self._rings[places]
        return Bins(places, groups, np.bincount(groups, minlength=self._rings.max() + 1))

    @cached_property
    def ring_of_group(self) -> Array:
        """The ring that each group of the wedge lies in, on average."""
        return np.rint(self.wedge.mean(self._rings.astype(np.float64))).astype(np.intp)

    def by_ring(self, values: Array) -> Array:
        """Return the mean of values of the wedge's groups over each ring; 0 where it has none.

        Parameters
        ----------
        values : ndarray of float64, shape (n, groups)
        """
        counts = self.wedge.counts
        rings = len(self.rings.counts)
        sums = [np.bincount(self.ring_of_group, each * counts, rings) for each in values]
        return np.asarray(sums) / np.maximum(np.bincount(self.ring_of_group, counts, rings), 1)

    def smooth(self, values: Array) -> Array:
        """Return values of the wedge's groups, each averaged with those that lie beside it.

        Parameters
        ----------
        values : ndarray of float64, shape (groups,)
        """
        from scipy.ndimage import gaussian_filter

        cells = np.unique(self._cells[self.wedge.places])
        shape = self.spectrum[0], len(self._edges)
        sums, counts = np.zeros((2, shape[0] * shape[1]))
        sums[cells], counts[cells] = values * self.wedge.counts, self.wedge.counts
        sums, counts = (
            gaussian_filter(
                each.reshape(shape), (ROWS_SMOOTHED, GROUPS_SMOOTHED), mode=("wrap", "nearest")
            ).ravel()
            for each in (sums, counts)
        )
        return np.asarray(sums[cells] / counts[cells])

    def phases(self, places: Array, shift: Array) -> Array:
        """Return the factors by which a movement changes a spectrum.

        Parameters
        ----------
        places : ndarray of int
            In a flattened spectrum.
        shift : ndarray, shape (2,)
            Along (y, x), in pixels.

        Returns
        -------
        ndarray of complex64
        """
        rows, columns = np.divmod(places, self.spectrum[1])
        fy, fx = self._cycles
        along_y, along_x = (
            np.exp(-2j * np.pi * cycles.ravel() * each).astype(np.complex64)
            for cycles, each in zip((fy, fx), shift, strict=True)
        )
        return np.asarray(along_y[rows] * along_x[columns])

    @cached_property
    def _cycles(self) -> tuple[Array, Array]:
        """Cycles per pixel along y and along x, to be broadcast."""
        rows, columns = self.extended
        return np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns)[np.newaxis]

    @cached_property
    def _edges(self) -> list[int]:
        """First cycle across a slice of each group of columns; that of zero is left out."""
        columns = self.spectrum[1]
        widest = max(1, -(-columns // COLUMNS))
        edges = [1]
        while edges[-1] < columns:
            edges.append(edges[-1] + min(max(1, int(GROWTH * edges[-1])), widest))
        return edges

    @property
    def _cells(self) -> Array:
        """Row and group of columns, as one number, of each frequency of a flattened spectrum."""
        rows, columns = self.spectrum
        groups = np.searchsorted(self._edges, np.arange(columns), side="right") - 1
        cells = np.arange(rows)[:, np.newaxis] * len(self._edges) + np.maximum(groups, 0)
        return np.asarray(cells.ravel(), np.int32)

    @property
    def _rings(self) -> Array:
        """Ring of each frequency of a flattened spectrum."""
        cycles = np.hypot(*self._cycles).ravel() * max(self.extended)
        octaves: Array = np.log2(np.maximum(cycles, LOWEST) / LOWEST)
        return (PER_OCTAVE * octaves).astype(np.int32)


@lru_cache(maxsize=2)
def frequencies_of(shape: tuple[int, int]) -> Frequencies:
    """Return the frequencies of slices of a shape; what was worked out for them is kept."""
    return Frequencies(shape)


def spectrum_of(image: Array, frequencies: Frequencies) -> Array:
    """Return the spectrum of a slice that is made periodic, without its mean.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Of NumPy or CuPy, any real type.

    Returns
    -------
    ndarray of complex64
    """
    xp = namespace(image)
    centered = image.astype(np.float32) - np.float32(image.mean(dtype=np.float64))
    for axis, length in enumerate(frequencies.extended):
        centered = _periodic(xp.moveaxis(centered, axis, 0), length)
        centered = xp.moveaxis(centered, 0, axis)
    spectrum: Array = _transforms(centered).rfft2(centered).astype(np.complex64)
    return spectrum


def image_of(spectrum: Array, frequencies: Frequencies) -> Array:
    """Return the slice that has a spectrum, shape (rows, columns), float32."""
    rows, columns = frequencies.shape
    image = _transforms(spectrum).irfft2(spectrum, s=frequencies.extended)
    found: Array = image[:rows, :columns].astype(np.float32)
    return found


def _periodic(image: Array, length: int) -> Array:
    """Return an image with more rows, in which the last ones become like the first ones."""
    xp = namespace(image)
    more = length - len(image)
    share = xp.asarray((0.5 - 0.5 * np.cos(np.pi * (np.arange(more) + 0.5) / more))[:, None])
    share = share.astype(np.float32)
    after, before = image[::-1][:more], image[:more][::-1]
    longer: Array = xp.concatenate([image, after * (1 - share) + before * share])
    return longer


def _transforms(values: Array) -> Any:
    """Return the module that transforms arrays of NumPy, or of CuPy, in single precision."""
    xp = namespace(values)
    if xp is np:
        from scipy import fft

        return fft
    return xp.fft
