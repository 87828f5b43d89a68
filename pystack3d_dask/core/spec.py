"""What is known about a stack without touching its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.core.formatting import listed
from pystack3d_dask.core.typing import Array, Precision, Triple

Value = TypeVar("Value")

AXES = ("z", "y", "x")
SHOWN = 5  # slices named in a message
HALF_A_LEVEL = 0.5  # by which integers that are kept as floats may have been moved
HERE = (".", "")  # names of the only channel, whose slices are in the project itself


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open box of voxels, axis order (z, y, x).

    Parameters
    ----------
    start, stop : tuple of int
        First voxel, and the one after the last, along z, y and x.
    """

    start: Triple
    stop: Triple

    @classmethod
    def full(cls, shape: Sequence[int]) -> Region:
        """Return the region that covers an array of ``shape``."""
        return cls((0, 0, 0), _triple(shape))

    @property
    def shape(self) -> Triple:
        """Extent along z, y and x, never negative."""
        return _triple(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The region as an index into an array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def z(self) -> range:
        """Indices of the slices."""
        return range(self.start[0], self.stop[0])

    def with_z(self, start: int, stop: int) -> Region:
        """Return the same rows and columns over other slices."""
        return Region((start, *self.start[1:]), (stop, *self.stop[1:]))

    def shifted(self, offset: Sequence[int]) -> Region:
        """Return the region moved by ``offset`` voxels along (z, y, x)."""
        return Region(
            _triple(a + d for a, d in zip(self.start, offset, strict=True)),
            _triple(b + d for b, d in zip(self.stop, offset, strict=True)),
        )

    def grown(self, before: Sequence[int], after: Sequence[int]) -> Region:
        """Return the region with a halo of ``before`` and ``after`` voxels per axis."""
        return Region(
            _triple(a - d for a, d in zip(self.start, before, strict=True)),
            _triple(b + d for b, d in zip(self.stop, after, strict=True)),
        )

    def clipped(self, shape: Sequence[int]) -> Region:
        """Return the part of the region that lies inside an array of ``shape``."""
        return Region(
            _triple(min(max(a, 0), n) for a, n in zip(self.start, shape, strict=True)),
            _triple(min(max(b, 0), n) for b, n in zip(self.stop, shape, strict=True)),
        )

    def joined(self, other: Region) -> Region:
        """Return the smallest region that covers both; an empty one adds nothing."""
        if not self.size:
            return other
        if not other.size:
            return self
        return Region(
            _triple(map(min, self.start, other.start)), _triple(map(max, self.stop, other.stop))
        )

    def check_inside(self, shape: Sequence[int]) -> None:
        """Refuse what is not inside a stack of ``shape``.

        Raises
        ------
        ValueError
        """
        if self.clipped(shape) != self:
            msg = f"{self} is not inside a stack of shape {tuple(shape)}"
            raise ValueError(msg)

    def relative_to(self, outer: Region) -> Region:
        """Return the region in coordinates that start where ``outer`` starts."""
        return self.shifted([-a for a in outer.start])


EMPTY = Region((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True, kw_only=True)
class StackSpec:
    """One channel of a stack at one point of the chain, without its pixels.

    Parameters
    ----------
    shape : tuple of int
        Slices, rows, columns.
    dtype : numpy.dtype
        Type of the values at this point of the chain.
    source_dtype : numpy.dtype
        Type of the acquisition, which is also that of the final result.
    precision : {"float32", "source"}
        Whether values stay float32 between steps, or are truncated to
        ``source_dtype`` after each one.
    dither : bool
        Whether noise of a gray level is added before values are rounded in the end.
    fill : tuple of float
        Gray levels of padding: pixels that have one keep it, and take no part in fits.
    is_acquired : bool
        Whether values still are those of the acquisition, before any arithmetic.
    z : tuple of float, optional
        Position of each slice in micrometers; None when unknown.
    z_metadata : tuple of float, optional
        The positions that metadata inside the files tell, where there are any.
    names : tuple of str, optional
        Name of each slice: those of the files, later those of exported ones.
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometers; None when unknown.
    origin : tuple of int
        Row and column, in the acquisition, of the first pixel.
    proportions : tuple of float, optional
        Extents of a voxel along z, y and x in a unit that is not known, where that is all
        that files tell; None where ``z`` or ``pixel_size`` is known.
    offset : tuple of float
        Where the first voxel of the acquisition is along z, y and x: in micrometers, or in
        the unit of ``proportions``. Along z it counts only where ``z`` is unknown.
    label : str
        Name of the channel for plots and viewers, where its directory has none.
    bad : tuple of int
        Slices that were found bad, ascending: they take no part in fits of the whole stack.
    is_bound : bool
        True while a fit that is still to come decides the shape; ``shape`` is then
        the largest possible.
    """

    shape: Triple
    dtype: np.dtype[Any]
    source_dtype: np.dtype[Any]
    precision: Precision = "float32"
    dither: bool = False
    fill: tuple[float, ...] = ()
    is_acquired: bool = True
    z: tuple[float, ...] | None = None
    z_metadata: tuple[float, ...] | None = None
    names: tuple[str, ...] | None = None
    pixel_size: tuple[float, float] | None = None
    origin: tuple[int, int] = (0, 0)
    proportions: tuple[float, float, float] | None = None
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    label: str = "image"
    bad: tuple[int, ...] = ()
    is_bound: bool = False

    @property
    def region(self) -> Region:
        """The whole stack."""
        return Region.full(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole stack at this point of the chain."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_integer(self) -> bool:
        """Whether the acquisition holds integers."""
        return self.source_dtype.kind in "iu"

    @property
    def arithmetic(self) -> np.dtype[Any]:
        """Float type to compute in: float32, or float64 where integers are truncated.

        A product such as 100 * 1.05 must not fall short of its integer.
        """
        is_truncated = self.precision == "source" and self.is_integer
        return np.dtype(np.float64 if is_truncated else np.float32)

    @property
    def ends(self) -> tuple[float, float] | None:
        """Gray levels at which, and beyond which, pixels are clipped; None if that is not known."""
        if self.dtype.kind in "iu":
            limits, slack = np.iinfo(self.dtype), 0.0
        elif self.is_acquired and self.is_integer:
            limits, slack = np.iinfo(self.source_dtype), HALF_A_LEVEL
        else:
            return None
        return limits.min + slack, limits.max - slack

    def marked(self) -> StackSpec:
        """Return the spec of slices whose padding alone has the gray levels of ``fill``."""
        return replace(self, dtype=np.dtype(np.float32))

    def computed(self) -> StackSpec:
        """Return the spec of values that come out of arithmetic on these."""
        dtype = np.dtype(np.float32) if self.precision == "float32" else self.source_dtype
        return replace(self, dtype=dtype, is_acquired=False)

    def cropped(self, region: Region) -> StackSpec:
        """Return the spec of a region of this stack."""
        kept = slice(region.start[0], region.stop[0])
        return replace(
            self,
            shape=region.shape,
            z=None if self.z is None else self.z[kept],
            z_metadata=None if self.z_metadata is None else self.z_metadata[kept],
            names=None if self.names is None else self.names[kept],
            origin=(self.origin[0] + region.start[1], self.origin[1] + region.start[2]),
            offset=self._offset_from(region.start[0]),
            bad=tuple(z - kept.start for z in self.bad if kept.start <= z < kept.stop),
        )

    def _offset_from(self, start: int) -> tuple[float, float, float]:
        """Return the offset of the stack that begins at another slice."""
        step = self.proportions[0] if self.proportions else 0.0
        return self.offset[0] + start * step, *self.offset[1:]

    def picked(self, slices: Sequence[int]) -> StackSpec:
        """Return the spec of a stack of some of the slices."""
        return replace(
            self,
            shape=(len(slices), *self.shape[1:]),
            z=_picked(self.z, slices),
            z_metadata=_picked(self.z_metadata, slices),
            names=_picked(self.names, slices),
            bad=tuple(k for k, z in enumerate(slices) if z in self.bad),
        )

    def share_between(self, before: int, z: int, after: int) -> float:
        """Return how far slice ``z`` is from one to another, 0 to 1, in micrometers if known."""
        places: Sequence[float] = self.z or range(self.shape[0])
        if places[before] == places[after]:
            places = range(self.shape[0])
        if before == after:
            return 0.0
        share = (places[z] - places[before]) / (places[after] - places[before])
        return min(max(share, 0.0), 1.0)

    def listed(self, slices: Array | Sequence[int]) -> str:
        """Return the names of some slices, the first few, for messages."""
        return listed([self.names[z] if self.names else f"slice {z}" for z in slices], SHOWN)

    @property
    def slice_distance(self) -> float | None:
        """Mean distance of slices in micrometers; None where it is not known."""
        if self.z is None or len(self.z) < 2 or self.z[-1] == self.z[0]:
            return None
        return abs(self.z[-1] - self.z[0]) / (len(self.z) - 1)

    @property
    def is_measured(self) -> bool:
        """Whether `spacing` is in micrometers."""
        return self.pixel_size is not None or self.slice_distance is not None

    @property
    def unit(self) -> str:
        """Unit of `spacing`, for plots."""
        if self.is_measured:
            return "µm"
        return "pixels" if self.proportions is None else "unknown unit"

    def spacing(self) -> tuple[float, float, float]:
        """Return the extents of a voxel along z, y and x.

        In micrometers where the pixel size or the mean slice distance is known: voxels are
        taken for cubes along the axes of which nothing is known. Otherwise proportions, or ones.
        """
        distance = self.slice_distance
        if self.pixel_size is not None:
            return distance or self.pixel_size[0], *self.pixel_size
        if distance is not None:
            return distance, distance, distance
        return self.proportions or (1.0, 1.0, 1.0)


def shown_names(channels: Sequence[str], spec: StackSpec) -> list[str]:
    """Return the names of channels for viewers: none is called like the directory itself."""
    return [spec.label if name in HERE else name for name in channels]


def _picked(values: tuple[Value, ...] | None, places: Sequence[int]) -> tuple[Value, ...] | None:
    return None if values is None else tuple(values[place] for place in places)


def _triple(values: Any) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
