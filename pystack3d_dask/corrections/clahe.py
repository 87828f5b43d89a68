"""Contrast limited adaptive histogram equalization: contrast from the surroundings.

Method: Zuiderveld, Graphics Gems IV, 1994, chapter VIII.5. For each slice by itself it is
scikit-image's `equalize_adapthist`. That takes a volume only as a whole, and stretches what
comes out to the volume's own extremes; so in three dimensions the histograms of the tiles
are a fit to the stack (`tiles.py`), and slices are then mapped one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.levels import check_range, full_range
from pystack3d_dask.corrections.scoped import Scoped
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.clahe import Bins, Tiles, blend, count_tiles, tile_maps
from pystack3d_dask.kernels.intensity.histograms import check_bins, extremes, limits_of, widest
from pystack3d_dask.kernels.intensity.quantiles import Limits

SHARE = 8  # tiles along each axis, by default
MOST_NUMBERS = 2**27  # in the maps of all tiles: half a GiB


@dataclass(frozen=True, kw_only=True)
class CLAHE(Scoped):
    """Equalize the histograms of tiles, with a limit to the contrast, and blend between them.

    Black and white are the ends of the type of the acquisition, 0 and 1 of a stack of
    floats.

    Parameters
    ----------
    scope : {"stack", "slice"}
        Tiles in three dimensions, so that neighboring slices change alike; or each slice
        by itself, as scikit-image does it: from its own extremes to black and white. Slices with
        padding (``fill``) get the tiles of scope "stack", one slice deep.
    size : tuple of float, optional
        Width, height and depth of a tile, ``[x, y, z]``; of slices by themselves ``[x, y]``.
        They are fitted to the stack, which is divided evenly in three dimensions. By
        default an eighth of each axis.
    size_unit : {"pixels", "um"}
        Unit of ``size``.
    clip_limit : float
        Largest share of its pixels that a bin of a tile's histogram counts, above 0; the
        smaller the less contrast. 1: no limit.
    nbins : int
        Bins of the histograms.
    range_bins : tuple of float, optional
        In three dimensions: the gray levels that the bins cover. By default those of an
        8-bit type; of others the smallest and the largest of the stack, which takes one
        more look at it.
    """

    name: ClassVar[str] = "clahe"
    purpose: ClassVar[str] = (
        "exposure: histogram equalization of the surroundings with limited contrast, in "
        "three dimensions or in each slice"
    )
    usual_place: ClassVar[int] = 120
    template: ClassVar[str] = """\
scope = "stack"                 # tiles in three dimensions; "slice": in each slice
# size = [100, 100, 20]         # of a tile in x, y, z; by default an eighth of the stack
# size_unit = "pixels"          # or "um"
clip_limit = 0.01               # the smaller the less contrast, at most 1
"""
    nanoseconds: ClassVar[float] = 50.0

    size: tuple[float, ...] | None = None
    size_unit: Literal["pixels", "um"] = "pixels"
    clip_limit: float = 0.01
    nbins: int = 256
    range_bins: Limits | None = None

    @property
    def in_micrometers(self) -> bool:
        return self.size_unit == "um"

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from check_bins(f"{self.name}.nbins", self.nbins)
        if not 0 < self.clip_limit <= 1:
            yield Problem(
                f"{self.name}.clip_limit", f"above 0, at most 1, expected, found {self.clip_limit}"
            )
        yield from check_range(f"{self.name}.range_bins", self.range_bins)
        if self.scope == "slice" and self.range_bins is not None:
            yield Problem(
                f"{self.name}.range_bins",
                "slices by themselves go from their own extremes: leave it out, or take scope = "
                "'stack'",
            )
        yield from self._check_size(spec)

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        """Return what scikit-image takes for a slice, or the maps of the tiles around one."""
        numbers = prod(self._tiles(spec).counts[1:]) * self.nbins
        if self.scope == "slice":
            return 40 * spec.shape[1] * spec.shape[2] + 21 * numbers
        return 16 * numbers

    def fit_rounds(self, spec: StackSpec) -> int:
        return 2 if self._known_range(spec) is None else 1

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        return 4 * prod(self._tiles(spec).counts[1:]) * self.nbins

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        limits, tiles = self._range(block.spec, partial), self._tiles(block.spec)
        if limits is None:
            return {z: extremes(image) for z, image in block.image_pixels()}
        bins = Bins(self.nbins, limits)
        return {
            z: {"counts": count_tiles(image, tiles, bins, padding)}
            for (z, image), padding in zip(block.images(), block.padding_of_slices(), strict=True)
        }

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        limits = self._range(spec, partial)
        if limits is None:
            return widest(summaries.values())
        maps = tile_maps(summaries, self._tiles(spec), self.clip_limit)
        return {"range": np.array(limits), "maps": maps}

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        values, ends = np.empty(block.values.shape, block.spec.arithmetic), full_range(block.spec)
        if self.scope == "slice":
            slices = zip(block.values, block.padding_of_slices(), values, strict=True)
            for image, padding, result in slices:
                if padding is None:
                    self._equalize(image, block.spec, ends, result)
                else:
                    self._equalize_beside(padding, image, block.spec, ends, result)
            return block.inside(values), {}
        fit, tiles = known(fitted), self._tiles(block.spec)
        low, high = limits_of(fit)
        if not low < high:
            return block.values.astype(block.spec.arithmetic), {}
        bins = Bins(self.nbins, (low, high))
        for z, image, result in zip(block.out.z, block.values, values, strict=True):
            blend(image, fit["maps"], tiles, bins, (z, *block.out.start[1:]), ends, result)
        return values, {}

    def _equalize(self, image: Array, spec: StackSpec, ends: Limits, out: Array) -> None:
        from skimage.exposure import equalize_adapthist  # not at the top: workers start sooner

        low, high = float(image.min()), float(image.max())
        if not low < high:
            out[:] = image
            return
        black, white = ends
        out[:] = image
        out -= low
        out /= high - low
        _, *kernel = self._extents(spec)
        out[:] = equalize_adapthist(out, kernel, self.clip_limit, self.nbins)
        out *= white - black
        out += black

    def _equalize_beside(
        self, padding: Array, image: Array, spec: StackSpec, ends: Limits, out: Array
    ) -> None:
        """Equalize a slice with padding, which tiles of scikit-image would count."""
        own = image[~padding]
        low, high = float(own.min()), float(own.max())
        if not low < high:
            out[:] = image
            return
        stack = self._tiles(spec)
        tiles = Tiles((1, *stack.counts[1:]), (1, *stack.shape[1:]))
        bins = Bins(self.nbins, (low, high))
        counts = {0: {"counts": count_tiles(image, tiles, bins, padding)}}
        maps = tile_maps(counts, tiles, self.clip_limit)
        blend(image, maps, tiles, bins, (0, 0, 0), ends, out)

    def _check_size(self, spec: StackSpec) -> Iterator[Problem]:
        axes = "[x, y]" if self.scope == "slice" else "[x, y, z]"
        path = f"{self.name}.size"
        if self.size is None:
            pass
        elif len(self.size) != axes.count(",") + 1 or min(self.size) <= 0:
            yield Problem(path, f"{axes}, all above 0, expected, found {list(self.size)}")
        elif self.size_unit == "um" and (
            spec.pixel_size is None or (spec.z is None and self.scope == "stack")
        ):
            yield Problem(
                f"{self.name}.size_unit",
                "'um' needs the size of the pixels and the z of the slices, and these images do "
                "not tell them; voxel_size = [x, y, z] does, or give the size in pixels",
            )
        elif prod(self._tiles(spec).counts) * self.nbins > MOST_NUMBERS:
            yield Problem(
                path,
                f"{list(self.size)} makes {prod(self._tiles(spec).counts)} tiles of {self.nbins} "
                f"bins, more than memory should hold; {MOST_NUMBERS // self.nbins} tiles at most: "
                "larger ones, or fewer bins",
            )

    def _extents(self, spec: StackSpec) -> tuple[int, int, int]:
        """Return depth, height and width of a tile in voxels."""
        wanted = [extent / SHARE for extent in spec.shape]
        if self.size is not None:
            units = spec.spacing()[::-1] if self.size_unit == "um" else (1.0, 1.0, 1.0)
            wanted = [size / unit for size, unit in zip(self.size, units, strict=False)][::-1]
        if self.scope == "slice":
            wanted = [spec.shape[0], *wanted[-2:]]
        z, y, x = (
            round(min(max(size, 1.0), extent))
            for size, extent in zip(wanted, spec.shape, strict=True)
        )
        return z, y, x

    def _tiles(self, spec: StackSpec) -> Tiles:
        z, y, x = (
            round(extent / size)
            for extent, size in zip(spec.shape, self._extents(spec), strict=True)
        )
        return Tiles((z, y, x), spec.shape)

    def _known_range(self, spec: StackSpec) -> Limits | None:
        """Return the range that takes no look at the stack; levels of integers are bins."""
        if self.range_bins is not None:
            return self.range_bins
        if spec.is_integer and spec.source_dtype.itemsize == 1:
            low, high = full_range(spec)
            return low - 0.5, high + 0.5
        return None

    def _range(self, spec: StackSpec, partial: Arrays | None) -> Limits | None:
        return self._known_range(spec) if partial is None else limits_of(partial)
