"""Gray levels at some places of a stack, and the folds in which they are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.flat_places import FlatPlaces

ACROSS = 4  # folds along y and along x
SLABS = 6  # folds along z


@dataclass(frozen=True)
class Samples:
    """Gray levels at some places.

    Parameters
    ----------
    values : ndarray of float64, shape (samples,)
        Means of small flat places.
    places : ndarray of float64, shape (samples, 3)
        Along z, y and x, each from 0 to 1.
    inside : float
        Variance of pixels inside the places.
    """

    values: Array
    places: Array
    inside: float = 0.0

    @classmethod
    def of_slices(cls, seen: Mapping[float, FlatPlaces], fill: Sequence[float] = ()) -> Samples:
        """Return the flat places of slices.

        Parameters
        ----------
        seen : mapping of float to FlatPlaces
            By the place of the slice along z, from 0 to 1.
        fill : sequence of float
            Gray levels that only fill slices up, and do not count.
        """
        values = np.concatenate([np.empty(0), *(each.values for each in seen.values())])
        places = [
            np.column_stack([np.full(len(each.values), z), each.places]) for z, each in seen.items()
        ]
        counted = ~np.isin(values, fill)
        inside = float(np.mean([each.inside for each in seen.values()])) if seen else 0.0
        return cls(values[counted], np.concatenate([np.empty((0, 3)), *places])[counted], inside)

    def folds(self, tiles: int = ACROSS) -> Array:
        """Return the number of the fold of each sample: 16 of them, spread over the slices.

        Parameters
        ----------
        tiles : int
            Along y and along x; every fourth one along both is of the same fold.
        """
        y, x = np.minimum((self.places[:, 1:] * tiles).astype(int), tiles - 1).T % ACROSS
        return np.asarray(y * ACROSS + x)

    def parts(self, count: int) -> Array:
        """Return in which part each sample lies: its slice, and parts along y and x, as columns."""
        y, x = np.minimum((self.places[:, 1:] * count).astype(int), count - 1).T
        return np.stack([self.places[:, 0], y, x], axis=1)

    @property
    def slabs(self) -> Array:
        """Number of the slab of each sample."""
        return np.asarray((self.places[:, 0] * SLABS).astype(int))
