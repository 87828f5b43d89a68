"""One slice through the chain, before and after, without running the whole stack."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pystack3d_dask.core.area import Area, area_region, check_area
from pystack3d_dask.core.chain import Chain, source_slice
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.io.source import Source
from pystack3d_dask.kernels.casting import cast, difference, repair
from pystack3d_dask.preview.quality import Quality
from pystack3d_dask.preview.workbench import Estimate, Fitted, Workbench, in_threads, level_after
from pystack3d_dask.project.project import Project

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A slice before and after corrections. In a notebook it shows itself.

    Parameters
    ----------
    name : str
        Name of the slice.
    step : str
        The last correction that it went through.
    channels : tuple of str
        Names of the channels.
    before, after : ndarray, shape (channels, rows, columns)
        The same part of the specimen, in the type of the acquisition.
    extent : tuple of float
        Left, right, bottom and top edge, in ``unit``, y counted downwards.
    unit : str
        "µm", or "pixels" where the size of a pixel is not known.
    moved : ndarray, shape (channels, rows, columns), optional
        ``before``, aligned and resampled as ``after`` is, where steps do that.
    estimated : mapping
        By step name, from how many slices its fit was estimated, where no run had found it.
        What a run does may then differ.
    bad_pixels : tuple of int
        By channel, how many pixels of ``before`` have no finite value in the acquisition and
        are shown as the nearest valid one, which a run makes of them, too.
    """

    name: str
    step: str
    channels: tuple[str, ...]
    before: Array
    after: Array
    extent: tuple[float, float, float, float]
    unit: str
    moved: Array | None = None
    estimated: Mapping[str, Estimate] = field(default_factory=dict)
    bad_pixels: tuple[int, ...] = ()

    @property
    def difference(self) -> Array:
        """What gray levels changed by, float32, shape (channels, rows, columns).

        ``after`` less ``before``, the latter aligned and resampled alike: what moves alone is 0.
        """
        before = self.before if self.moved is None else self.moved
        return difference(self.after, before)

    @property
    def labels(self) -> tuple[str, ...]:
        """What to know before one judges by the pictures: what is estimated, and bad pixels."""
        several = len(self.channels) > 1
        return (
            *(f"{name} {estimate}" for name, estimate in self.estimated.items()),
            *(
                f"{channel}: " * several + _bad(count, self.before[0].size)
                for channel, count in zip(self.channels, self.bad_pixels, strict=False)
                if count
            ),
        )

    def figures(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Return figures of the slice before and after, by channel and name.

        ``mean``, ``deviation``, and those of `pystack3d_dask.preview.quality.Quality` that need no
        neighbor: ``along``, ``across`` and ``sharpness``.
        """
        found = in_threads(_figures, [*self.before, *self.after])
        count = len(self.channels)
        return {
            channel: {name: (one[name], other[name]) for name in one}
            for channel, one, other in zip(self.channels, found[:count], found[count:], strict=True)
        }

    def plot(self) -> Figure:
        """Draw before and after in the same gray levels, their difference and histograms."""
        from pystack3d_dask.preview.pictures import preview_figure

        return preview_figure(self)

    def save(self, path: Path | str) -> Path:
        """Write that picture (PNG, PDF, SVG, by suffix) and return the path."""
        from pystack3d_dask.preview.pictures import save_figure

        return save_figure(self.plot(), path)

    def _repr_png_(self) -> bytes:
        from pystack3d_dask.preview.pictures import png

        return png(self.plot())


def preview(
    project: Project,
    *,
    z: int | None = None,
    area: Area | None = None,
    step: str | None = None,
    bench: Workbench | None = None,
) -> Preview:
    """Take one slice through the chain; see `Pipeline.preview`.

    ``bench`` is a workbench of this project that keeps what it computes for the next look.
    """
    bench = bench or Workbench(project)
    end = level_after(project.steps, step)
    z = chosen_slice(project.chains()[0].levels[end].shape[0], z)
    fitted = bench.fitted([z], end)
    chain = fitted.chains[0]
    region = chosen_region(chain.levels[end], area).with_z(z, z + 1)
    source = source_slice(chain, end, region)
    (images,) = bench.images(fitted, end, [region])
    moved = bench.moved(fitted, end, region)
    before, bad_pixels = acquired(project.source, source)
    spec = chain.levels[end]
    return Preview(
        name=(spec.names or project.source.names)[z],
        step=project.steps[end - 1].name if end else "nothing",
        channels=project.source.channels,
        before=before,
        after=_rounded(images, fitted),
        moved=None if moved is None else _rounded(moved, fitted),
        extent=_extent(spec, region),
        unit="pixels" if spec.pixel_size is None else "µm",
        estimated=fitted.estimates,
        bad_pixels=bad_pixels,
    )


def chosen_slice(slices: int, z: int | None) -> int:
    """Return the index of a slice, of the middle one by default, if there is such a slice."""
    z = slices // 2 if z is None else z
    if not 0 <= z < slices:
        message = f"0 to {slices - 1} expected, found {z} (counted in what the last step leaves)"
        raise ParameterError([Problem("z", message)])
    return z


def chosen_region(spec: StackSpec, area: Area | None) -> Region:
    """Return the part of all slices that an area names, if there is any."""
    for problem in check_area("area", area, spec):
        if problem.severity == "error":
            raise ParameterError([problem])
        warnings.warn(str(problem), stacklevel=3)
    return area_region(area, spec)


def rounded(image: Array, chain: Chain) -> Array:
    """Return an image of any level in the type of the acquisition."""
    return cast(image, chain.result_dtype, chain.source.precision)


def _rounded(images: Sequence[Array], fitted: Fitted) -> Array:
    return np.stack(
        [rounded(image, chain) for image, chain in zip(images, fitted.chains, strict=True)]
    )


def acquired(source: Source, region: Region) -> tuple[Array, tuple[int, ...]]:
    """Return part of a slice as a run takes it, and by channel how many pixels were bad."""
    found = [repair(source.read(k, region)[0]) for k in range(len(source.channels))]
    return np.stack([image for image, _ in found]), tuple(count for _, count in found)


def _bad(count: int, pixels: int) -> str:
    if count == pixels:
        return "no pixel has a finite value: shown as 0"
    what = "pixel has" if count == 1 else "pixels have"
    return f"{count} {what} no finite value: shown as the nearest valid one"


def _extent(spec: StackSpec, region: Region) -> tuple[float, float, float, float]:
    height, width = spec.pixel_size or (1.0, 1.0)
    _, (top, bottom), (left, right) = (
        (a + shift, b + shift)
        for a, b, shift in zip(region.start, region.stop, (0, *spec.origin), strict=True)
    )
    return left * width, right * width, bottom * height, top * height


def _figures(image: Array) -> dict[str, float]:
    own = Quality.of(image)
    return {
        "mean": float(image.mean(dtype=np.float64)),
        "deviation": float(image.std(dtype=np.float64)),
        "along": own.along,
        "across": own.across,
        "sharpness": own.sharpness,
    }
