"""The input of a correction: part of a stack, and its position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array


@dataclass(frozen=True)
class Block:
    """Part of a stack.

    Parameters
    ----------
    values : ndarray, shape ``source.shape``
        Pixels, read-only; of NumPy, or of CuPy on a GPU.
    source : Region
        Where they lie in the stack.
    out : Region
        What is asked for: a region of the output, or the slices to be summarized.
    spec : StackSpec
        The whole stack.
    padding : ndarray of bool, shape ``source.shape``, optional
        Which pixels are no image, if some are. Corrections see the mean of their slice there, and
        these pixels get their gray level back afterwards: only fits have to leave them out.
    """

    values: Array
    source: Region
    out: Region
    spec: StackSpec
    padding: Array | None = None

    def images(self) -> Iterator[tuple[int, Array]]:
        """Yield each slice of ``source`` with its index in the stack."""
        yield from zip(self.source.z, self.values, strict=True)

    def is_all_padding(self, z: int) -> bool:
        """Return whether a slice of ``source`` shows no image."""
        return self.padding is not None and bool(self.padding[z - self.source.start[0]].all())

    @property
    def without_padding(self) -> Array:
        """Pixels, with NaN for all padding."""
        if self.padding is None:
            return self.values
        values: Array = self.values.astype(np.float32)
        values[self.padding] = np.nan
        return values

    @property
    def image_or_nan(self) -> Array:
        """Pixels, with NaN for padding, but for slices that are nothing else."""
        if self.padding is None:
            return self.values
        values: Array = self.values.astype(np.float32)
        for image, where in zip(values, self.padding_of_slices(), strict=True):
            if where is not None:
                image[where] = np.nan
        return values

    def padding_of_slices(self) -> Iterator[Array | None]:
        """Yield where each slice is padding; None where it is not, or is nothing else.

        A slice that is all padding is a constant one, and has no part in fits (`stack_fit`).
        """
        where = [None] * len(self.values) if self.padding is None else self.padding
        for each in where:
            yield None if each is None or each.all() or not each.any() else each

    def image_pixels(self) -> Iterator[tuple[int, Array]]:
        """Yield the pixels of each slice without padding, in one row if some are left out."""
        for (z, image), where in zip(self.images(), self.padding_of_slices(), strict=True):
            yield z, image if where is None else image[~where][np.newaxis]

    def inside(self, values: Array) -> Array:
        """Return the part of an array, computed from all of ``values``, that is asked for."""
        return values[self.out.relative_to(self.source).slices]
