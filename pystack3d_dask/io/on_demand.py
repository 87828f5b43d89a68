"""Dask arrays of what lies on disk, of which a selection reads no more than is selected.

Dask merges one index into the reading of an array; of an index into an index, such as a plane
of a channel, it reads the blocks whole. Here indices are merged before dask sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from pystack3d_dask.core.spec import AXES
from pystack3d_dask.core.typing import Array

if TYPE_CHECKING:
    import xarray as xr

NAME = "image"

Place = int | range


class OnDemand(da.Array):  # type: ignore[misc]  # dask is not typed
    """A dask array that reads what is selected of it, when it is computed.

    Indices of integers and slices give another one; all else is left to dask, and gives a
    dask array like any other.

    Parameters
    ----------
    stored : array-like
        Has ``shape`` and ``dtype``, and takes a tuple of integers and forward slices.
    blocks : sequence of int
        Extent of the chunks along each of its axes; -1: all of it.
    places : sequence of int or range, optional
        What is selected along each axis; all by default. An integer takes the axis away.
    """

    def __new__(
        cls, stored: Any, blocks: Sequence[int], places: Sequence[Place] | None = None
    ) -> OnDemand:
        view = View(stored, places)
        chunks = tuple(
            block
            for block, place in zip(blocks, view.places, strict=True)
            if isinstance(place, range)
        )
        meta = np.empty((0,) * view.ndim, view.dtype)
        plain = da.from_array(view, chunks=chunks, name=False, fancy=False, meta=meta)
        self = super().__new__(cls, plain.dask, plain.name, plain.chunks, meta=meta)
        self._view, self._extents = view, tuple(blocks)
        return self  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        chosen = _basic(index, self.shape)
        if chosen is None:
            return super().__getitem__(index)
        return OnDemand(self._view.stored, self._extents, self._view.selected(chosen))


@dataclass(frozen=True)
class Stored:
    """A stack on disk, with what xarray has to know of it.

    Parameters
    ----------
    pixels : array-like, shape (channels, slices, rows, columns)
        As for `OnDemand`.
    chunks : tuple of int
        Extent along each axis of what is stored together.
    coords, attrs : dict
        Of the array.
    """

    pixels: Any
    chunks: tuple[int, ...]
    coords: dict[str, Any]
    attrs: dict[str, Any]

    def as_dask(self, blocks: Sequence[int] | None = None) -> xr.DataArray:
        """Return it as a lazy array; with the blocks of dask that are given, or its chunks."""
        import xarray as xr

        data = OnDemand(self.pixels, self.chunks if blocks is None else blocks)
        return xr.DataArray(
            data, dims=("c", *AXES), coords=self.coords, attrs=self.attrs, name=NAME
        )


class View:
    """Part of an array on disk; an index of integers and slices reads."""

    def __init__(self, stored: Any, places: Sequence[Place] | None = None) -> None:
        everything = tuple(range(extent) for extent in stored.shape)
        self.stored = stored
        self.places: tuple[Place, ...] = everything if places is None else tuple(places)
        self.shape = tuple(len(place) for place in self.places if isinstance(place, range))
        self.ndim = len(self.shape)
        self.dtype: np.dtype[Any] = stored.dtype

    def selected(self, index: tuple[int | slice, ...]) -> tuple[Place, ...]:
        """Return the places that an index leaves."""
        left = iter(index)
        return tuple(
            place[next(left)] if isinstance(place, range) else place for place in self.places
        )

    def __getitem__(self, index: tuple[int | slice, ...]) -> Array:
        places = self.selected(index)
        shape = [len(place) for place in places if isinstance(place, range)]
        if not all(shape):
            return np.empty(shape, self.dtype)
        # backwards is read forwards, and turned
        turned = tuple(
            slice(None, None, np.sign(place.step)) for place in places if isinstance(place, range)
        )
        return np.asarray(self.stored[tuple(map(_forwards, places))])[turned]


def _forwards(place: Place) -> int | slice:
    if isinstance(place, int):
        return place
    rising = place if place.step > 0 else place[::-1]
    return slice(rising.start, rising.stop, rising.step)


def _basic(index: Any, shape: tuple[int, ...]) -> tuple[int | slice, ...] | None:
    """Return an integer or a slice per axis; None if it is another index, or nothing is left."""
    given = list(index) if isinstance(index, tuple) else [index]
    if not all(type(each) in (int, slice) or isinstance(each, np.integer) for each in given):
        return None
    given = [each if isinstance(each, slice) else int(each) for each in given]
    given += [slice(None)] * (len(shape) - len(given))
    if len(given) > len(shape) or any(
        isinstance(each, int) and not -extent <= each < extent
        for each, extent in zip(given, shape, strict=True)
    ):
        return None  # dask tells what is wrong
    is_scalar = all(isinstance(each, int) for each in given)
    return None if is_scalar else tuple(given)
