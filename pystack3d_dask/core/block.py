"""The input of a correction: part of a stack, and its position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
    """

    values: Array
    source: Region
    out: Region
    spec: StackSpec

    def images(self) -> Iterator[tuple[int, Array]]:
        """Yield each slice of ``source`` with its index in the stack."""
        yield from zip(self.source.z, self.values, strict=True)

    def inside(self, values: Array) -> Array:
        """Return the part of an array, computed from all of ``values``, that is asked for."""
        return values[self.out.relative_to(self.source).slices]
