"""Long waves along y, band by band: within one, all of them are mixtures of a few profiles.

A wave of which an image has few periods is smooth within a band of, say, 64 rows. The first
singular vectors of all the waves' pieces there, the profiles, therefore give every one of
them to the accuracy of float32, and since a wave further down is the same wave with another
phase, the same profiles serve all bands. Sums over waves then take two small steps: waves to
profiles once per band, profiles to rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array

GROUP = 4  # rows, and waves, that a kernel takes at a time
HEIGHTS = (16, 32, 64, 128, 256)
EXACT = 3e-7  # of the largest singular value: those below are rounding errors of float32


@dataclass(frozen=True)
class Bands:
    """Waves along y in bands of rows.

    Row ``y`` of wave ``k`` is ``(profiles @ mixtures[b])[y - b * height, k]``, b the band. The
    bands go on beyond the last row, by a group at least, as the waves do: with the first rows.

    Parameters
    ----------
    profiles : ndarray of float32, shape (height, count)
        The profiles, orthonormal, and zeros up to a multiple of `GROUP`.
    mixtures : ndarray of float32, shape (bands, count, waves)
        What each wave is made of in each band: cosines, then sines, then zeros up to a
        multiple of `GROUP`.
    """

    profiles: Array
    mixtures: Array

    @property
    def operations(self) -> float:
        """Multiplications per pixel for a sum over all waves."""
        height, count = self.profiles.shape
        waves: int = self.mixtures.shape[2]
        return float(count * (1 + waves / height))


def bands(frequencies: Array, rows: int) -> Bands:
    """Return cosines and sines of these frequencies in the bands that take the least work.

    Parameters
    ----------
    frequencies : ndarray of int, shape (count,)
        Periods over all rows.
    rows : int
        Of the image.
    """
    heights = [height for height in HEIGHTS if height <= max(rows, HEIGHTS[0])]
    each = (_bands(frequencies, rows, height) for height in heights)
    return min(each, key=lambda found: found.operations)


def _bands(frequencies: Array, rows: int, height: int) -> Bands:
    vectors, sizes, _ = np.linalg.svd(_waves(frequencies, rows, 0, height), full_matrices=False)
    needed = int(np.count_nonzero(sizes > EXACT * sizes[0]))
    count = _rounded_up(needed)
    profiles = np.zeros((height, count))
    profiles[:, :needed] = vectors[:, :needed]
    starts = range(0, rows + GROUP, height)
    waves = 2 * len(frequencies)
    mixtures = np.zeros((len(starts), count, _rounded_up(waves)), np.float32)
    for mixture, first in zip(mixtures, starts, strict=True):
        mixture[:, :waves] = profiles.T @ _waves(frequencies, rows, first, height)
    return Bands(np.ascontiguousarray(profiles, np.float32), mixtures)


def _waves(frequencies: Array, rows: int, first: int, count: int) -> Array:
    y = np.arange(first, first + count)[:, None]
    angles = 2 * np.pi / rows * (y * frequencies % rows)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def _rounded_up(count: int) -> int:
    return -(-count // GROUP) * GROUP
