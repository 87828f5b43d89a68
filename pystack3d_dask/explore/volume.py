"""What of a volume is looked at, and where it lies; nothing is loaded here but by `load`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pystack3d_dask.core.spec import AXES
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import StackError
from pystack3d_dask.io.ome.pyramid import pooled_positions

MICROMETERS = "µm"
PIXELS = "px"
SLIMMEST = 200.0  # times as long as wide that a picture is drawn, at most
FINEST_ROWS = 4000  # of a picture in which slices are as thick as they are


@dataclass(frozen=True)
class Axis:
    """The voxels along one axis.

    Parameters
    ----------
    name : {"z", "y", "x"}
        The axis.
    positions : ndarray of float, shape (n,)
        Where their values were taken, rising or falling.
    edges : ndarray of float, shape (n + 1,)
        Where they begin and end.
    unit : {"µm", "px"}
        Unit of both.
    is_known : bool
        Whether the stack tells how long they are.
    """

    name: str
    positions: NDArray[np.float64]
    edges: NDArray[np.float64]
    unit: str
    is_known: bool

    @classmethod
    def at(cls, name: str, positions: Array, unit: str, *, is_known: bool = True) -> Axis:
        """Return voxels that end half way between their centers."""
        positions = positions.astype(np.float64)
        inner = (positions[1:] + positions[:-1]) / 2
        if not len(inner):
            return cls(name, positions, positions[0] + np.array([-0.5, 0.5]), unit, is_known)
        first, last = 2 * positions[0] - inner[0], 2 * positions[-1] - inner[-1]
        return cls(name, positions, np.array([first, *inner, last]), unit, is_known)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def label(self) -> str:
        """What stands at the axis of a picture."""
        if self.is_known:
            return f"{self.name} ({self.unit})"
        counted = "slices" if self.name == "z" else "pixels"
        return (
            f"{self.name} ({counted})"
            if self.unit == PIXELS
            else f"{self.name} (thickness unknown)"
        )

    @property
    def span(self) -> float:
        """How long the axis is, voxels included."""
        return abs(float(self.edges[-1] - self.edges[0]))

    def strided(self, step: int) -> Axis:
        """Return every ``step``-th voxel, each for those up to the next one."""
        return replace(self, positions=self.positions[::step], edges=self._every(step))

    def pooled(self, factor: int) -> Axis:
        """Return voxels that are ``factor`` times as long."""
        positions = pooled_positions(self.positions, factor)
        return replace(self, positions=positions, edges=self._every(factor))

    def _every(self, step: int) -> NDArray[np.float64]:
        return np.append(self.edges[:-1:step], self.edges[-1])

    def even(self) -> Array:
        """Return which voxel each of the rows of an even picture of the axis shows.

        One row per voxel where they are equally far apart, else as many as it takes to
        show the nearest ones apart (4000 at most), each with the voxel that it lies in.
        """
        edges = self.edges
        gaps = np.abs(np.diff(edges))
        if np.ptp(gaps) <= 1e-3 * gaps.mean():
            return np.arange(len(self))
        rows = min(FINEST_ROWS, max(len(self), ceil(self.span / gaps.min() * (1 - 1e-9))))
        middle = edges[0] + (np.arange(rows) + 0.5) / rows * (edges[-1] - edges[0])
        order = 1 if edges[-1] > edges[0] else -1
        found = np.searchsorted(order * edges, order * middle, side="right") - 1
        return np.asarray(np.clip(found, 0, len(self) - 1))

    def tell(self, index: int) -> str:
        """Return a position in words."""
        if not self.is_known:
            return f"{self.name} = {index}"
        gap = float(np.abs(np.diff(self.edges)).min())
        decimals = max(0, -floor(log10(gap) + 1e-6))
        return f"{self.name} = {self.positions[index]:.{decimals}f} {self.unit}"


@dataclass(frozen=True)
class Volume:
    """One channel of a stack.

    Parameters
    ----------
    values : dask.array.Array or ndarray, shape (slices, rows, columns)
        An index into it loads nothing else, as far as its chunks allow.
    axes : tuple of Axis
        z, y and x, all in one unit.
    """

    values: Any
    axes: tuple[Axis, Axis, Axis]

    def cut(self, name: str, index: int | None = None, most: int | None = None) -> Cut:
        """Return the plane across an axis.

        Parameters
        ----------
        name : {"z", "y", "x"}
            The axis.
        index : int, optional
            Which voxel of it; negative ones count from the end. The middle one by default.
        most : int, optional
            How many voxels are shown of the other axes: of more slices every n-th is
            loaded, rows and columns are averaged.

        Raises
        ------
        StackError
            When there is no such voxel.
        """
        across = AXES.index(name)
        rows, columns = (axis for axis in self.axes if axis.name != name)
        index = _checked(index, self.axes[across])
        step = factor_y = factor_x = 1
        if most is not None:
            factor_y, factor_x = (-(-len(axis) // most) for axis in (rows, columns))
        if rows.name == "z":
            step, factor_y = factor_y, 1
        selection: list[int | slice] = [slice(None)] * 3
        selection[0] = slice(None, None, step)
        selection[across] = index
        return Cut(
            values=self.values[tuple(selection)],
            name=name,
            index=index,
            title=self.axes[across].tell(index),
            rows=rows.strided(step),
            columns=columns,
            factors=(factor_y, factor_x),
        )


@dataclass(frozen=True)
class Cut:
    """A plane that is not loaded yet.

    Parameters
    ----------
    values : dask.array.Array or ndarray, shape (len(rows), len(columns))
        Its voxels.
    name : {"z", "y", "x"}
        The axis across it.
    index : int
        Its place on that axis.
    title : str
        The same in words.
    rows, columns : Axis
        The axes in it, as they are loaded.
    factors : tuple of int
        How many rows and columns are averaged.
    """

    values: Any
    name: str
    index: int
    title: str
    rows: Axis
    columns: Axis
    factors: tuple[int, int]


@dataclass(frozen=True)
class Plane:
    """A plane as it is drawn.

    Parameters
    ----------
    image : ndarray, shape (len(rows), len(columns))
        Gray levels.
    cut : Cut
        Where it comes from.
    rows, columns : Axis
        The axes in it.
    """

    image: Array
    cut: Cut
    rows: Axis
    columns: Axis

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge, rows counted downwards."""
        left, right = (float(self.columns.edges[k]) for k in (0, -1))
        top, bottom = (float(self.rows.edges[k]) for k in (0, -1))
        return left, right, bottom, top

    def turned(self) -> Plane:
        """Return the plane with rows for columns."""
        return replace(self, image=self.image.T, rows=self.columns, columns=self.rows)

    def even(self) -> Array:
        """Return the image with rows and columns at equal distances, for drawing.

        Of floats, as float64: matplotlib takes differences of gray levels in the type that it gets.
        """
        image = np.asarray(self.image[np.ix_(self.rows.even(), self.columns.even())])
        return image.astype(np.float64) if image.dtype.kind == "f" else image


def as_volume(stack: Any, channel: int | str = 0) -> Volume:
    """Return one channel of a stack with its axes.

    Parameters
    ----------
    stack : DataArray or array-like
        A DataArray with dims (z, y, x) or (c, z, y, x), or anything with a shape of three
        axes that can be sliced: of numpy, dask, zarr, h5py. Coordinates with the attribute
        ``units: micrometer`` count; without, voxels are cubes, a pixel long.
    channel : int or str
        Place or name (coordinate ``c``) of a channel.

    Raises
    ------
    StackError
        When it is something else, or empty, or has no such channel.
    """
    named = stack if isinstance(stack, xr.DataArray) else _named(stack)
    if named.dims == ("c", *AXES):
        named = named.isel(c=_channel(named, channel))
    if named.dims != AXES:
        message = (
            f"a stack with dims (z, y, x) or (c, z, y, x) expected, found {named.dims}: "
            "stack.transpose(...) reorders them, stack.isel(...) selects"
        )
        raise StackError(message)
    if not named.size:
        message = f"the stack is empty: {dict(named.sizes)}"
        raise StackError(message)
    return Volume(named.data, _axes(named))


def load(cuts: Sequence[Cut]) -> list[Plane]:
    """Load planes, one by one: dask reads less than whole chunks only for one selection.

    Of a stack that is yet to be computed each plane computes the blocks that it crosses.
    """
    return [_pooled(np.asarray(dask.compute(cut.values)[0]), cut) for cut in cuts]


def gray_limits(
    images: Sequence[Array], percentiles: tuple[float, float] = (0.5, 99.5)
) -> tuple[float, float]:
    """Return what is drawn black and white in some images: percentiles of all of them."""
    pixels = np.concatenate([np.asarray(image).ravel() for image in images])
    if pixels.dtype.kind == "f":
        pixels = pixels[np.isfinite(pixels)]
    if not pixels.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(pixels.astype(np.float64), percentiles))
    return low, high if high > low else low + max(1.0, 1e-3 * abs(low))


def spans(*axes: Axis) -> tuple[float, ...]:
    """Return how long axes are drawn: none is so thin that it vanishes beside the longest."""
    longest = max(axis.span for axis in axes)
    return tuple(max(axis.span, longest / SLIMMEST) for axis in axes)


def _pooled(values: Array, cut: Cut) -> Plane:
    rows, columns = (
        axis.pooled(factor)
        for axis, factor in zip((cut.rows, cut.columns), cut.factors, strict=True)
    )
    if values.dtype.kind == "f":  # what is infinite has no mean either, and no place among grays
        values = np.where(np.isfinite(values), values, np.float32(np.nan))
    for axis, factor in enumerate(cut.factors):
        if factor > 1:
            values = _means(values, axis, factor)
    return Plane(values, cut, rows, columns)


def _means(values: Array, axis: int, factor: int) -> Array:
    """Average each ``factor`` consecutive rows or columns, fewer at the end."""
    if axis == 1:
        return _means(values.T, 0, factor).T
    # row by row: all of a large slice in floats would take eight times its memory
    means = (values[k : k + factor].mean(axis=0) for k in range(0, len(values), factor))
    return np.array([row.astype(np.float32) for row in means])


def _named(stack: Any) -> xr.DataArray:
    shape = tuple(getattr(stack, "shape", ()))
    if len(shape) != 3 or not hasattr(stack, "dtype"):
        message = (
            "a DataArray (open_stack, open_result) or an array of three axes (z, y, x) expected, "
            f"found {type(stack).__name__}" + (f" of shape {shape}" if shape else "")
        )
        raise StackError(message)
    lazy = stack if isinstance(stack, np.ndarray | da.Array) else da.from_array(stack, name=False)
    return xr.DataArray(lazy, dims=AXES)


def _channel(stack: xr.DataArray, channel: int | str) -> int:
    names = [str(name) for name in stack.c.values] if "c" in stack.coords else []
    if channel in names:
        return names.index(str(channel))
    if isinstance(channel, int) and 0 <= channel < stack.sizes["c"]:
        return channel
    known = f"{names} or " if names else ""
    message = f"channel: {known}0 to {stack.sizes['c'] - 1} expected, found {channel!r}"
    raise StackError(message)


def _axes(stack: xr.DataArray) -> tuple[Axis, Axis, Axis]:
    """Return the axes in micrometers, where these are known of the pixels, or in pixels."""
    z, y, x = (_positions(stack, name, "micrometer") for name in AXES)
    if y is None or x is None:
        return _in_pixels(stack, "z"), _in_pixels(stack, "y"), _in_pixels(stack, "x")
    height, width = (Axis.at(name, places, MICROMETERS) for name, places in (("y", y), ("x", x)))
    if z is None:  # cubes
        places = np.arange(stack.sizes["z"]) * height.span / len(height)
        return Axis.at("z", places, MICROMETERS, is_known=False), height, width
    return Axis.at("z", z, MICROMETERS), height, width


def _in_pixels(stack: xr.DataArray, name: str) -> Axis:
    places = _positions(stack, name, "pixel")  # of the acquisition, after a crop too
    places = np.arange(stack.sizes[name]) if places is None else places
    return Axis.at(name, places, PIXELS, is_known=False)


def _positions(stack: xr.DataArray, name: str, unit: str) -> Array | None:
    if name not in stack.coords or stack[name].attrs.get("units") != unit:
        return None
    positions = np.asarray(stack[name].values)
    gaps = np.diff(positions)
    is_monotonic = bool(np.all(gaps > 0) or np.all(gaps < 0))
    return positions if is_monotonic else None


def _checked(index: int | None, axis: Axis) -> int:
    count = len(axis)
    if index is None:
        return count // 2
    if not -count <= index < count:
        message = f"{axis.name}: 0 to {count - 1}, the index of a voxel, expected, found {index}"
        raise StackError(message)
    return int(index) % count
