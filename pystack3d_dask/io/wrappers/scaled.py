"""A source whose voxels have a size that was given, whatever its files tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.io.tiff.metadata import differ, shown
from pystack3d_dask.io.wrappers.mended import Wrapper

SHORTEST, LONGEST = 1e-6, 1e6  # micrometers: smaller than atoms, larger than microscopes
WIDEST = 10_000.0  # micrometers of a field: none of an electron microscope is as wide
APART = 100.0  # widths of a pixel that slices lie apart, at most
VoxelSize = tuple[float, float] | tuple[float, float, float]


@dataclass(frozen=True)
class Scaled(Wrapper):
    """A source with voxels of a given size; it has the same values, and so the same fingerprint.

    Parameters
    ----------
    source : Source
        The slices.
    voxel_size : tuple of float
        Width and height of a pixel, and where it is given the distance of slices, in micrometers.
        Without the latter positions of slices are what the files tell.
    first : int
        How many slices of the acquisition lie before the first one: where z is 0.
    """

    voxel_size: VoxelSize
    first: int = 0

    @cached_property
    def specs(self) -> tuple[StackSpec, ...]:
        """One per channel."""
        return tuple(map(self._scaled, self.source.specs))

    @property
    def fingerprint(self) -> str:
        """That of the source."""
        return self.source.fingerprint

    def selected(self, start: int, stop: int) -> Scaled:
        """Return the source without the slices outside ``start:stop``."""
        start = max(start, 0)
        return Scaled(self.source.selected(start, stop), self.voxel_size, self.first + start)

    def contradictions(self) -> Iterator[str]:
        """Yield where the files tell other sizes than those given."""
        (told, *_), (given, *_) = self.source.specs, self.specs
        if told.pixel_size and given.pixel_size and differ(told.pixel_size, given.pixel_size):
            yield (
                f"pixels of {shown(given.pixel_size)} are taken, the images tell "
                f"{shown(told.pixel_size)}"
            )
        found, taken = told.slice_distance, given.slice_distance
        if found and taken and differ([found], [taken]):
            yield (
                f"slices {taken:.6g} µm apart are taken, names or metadata tell {found:.6g} µm on "
                "average"
            )

    def _scaled(self, spec: StackSpec) -> StackSpec:
        width, height, *distance = self.voxel_size
        spec = replace(spec, pixel_size=(height, width), proportions=None)
        if self.source.specs[0].proportions:  # their unit is not known
            spec = replace(spec, offset=(0.0, 0.0, 0.0))
        if not distance:
            return spec
        return replace(spec, z=tuple((self.first + k) * distance[0] for k in range(spec.shape[0])))


def doubt_size(given: VoxelSize, spec: StackSpec) -> Iterator[str]:
    """Yield what makes a size of voxels unlikely to be one in micrometers."""
    width, height, *distance = given
    field = width * spec.shape[2], height * spec.shape[1]
    if max(field) >= WIDEST:
        yield (
            f"pixels of {width:g} x {height:g} µm make a field of {field[0] / 1000:.3g} x "
            f"{field[1] / 1000:.3g} mm; for nanometers write [{width / 1000:g}, {height / 1000:g}]"
        )
    if distance and not 1 / APART <= distance[0] / width <= APART:
        yield (
            f"slices {distance[0]:g} µm apart with pixels {width:g} µm wide are unlikely: are "
            "all of them micrometers?"
        )


def check_voxel_size(given: Sequence[float]) -> VoxelSize:
    """Return a size as it was given, if voxels can have it.

    Raises
    ------
    ValueError
        When it is not two or three lengths.
    """
    if len(given) in (2, 3) and all(SHORTEST <= length <= LONGEST for length in given):
        width, height, *distance = given
        return (width, height, distance[0]) if distance else (width, height)
    message = f"[x, y] or [x, y, z], each from {SHORTEST:g} to {LONGEST:g} µm, expected, found "
    raise ValueError(message + str(list(given)))
