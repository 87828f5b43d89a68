"""One slice through the chain, before and after, without running the whole stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pystack3d_dask.block import run_block
from pystack3d_dask.chain import Chain, Work
from pystack3d_dask.errors import FitRequiredError, ParameterError, Problem
from pystack3d_dask.io.source import Source
from pystack3d_dask.known import known_work
from pystack3d_dask.project import Project
from pystack3d_dask.spec import Array, Region, StackSpec
from pystack3d_dask.steps.area import Area, area_region, check_area
from pystack3d_dask.values import cast

CONTRAST = (0.5, 99.5)  # percentiles of the grey levels that are drawn black and white
Positions = tuple[float, ...] | None
INCHES = 4.2  # width of a picture in the figure


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A slice before and after corrections.

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
    """

    name: str
    step: str
    channels: tuple[str, ...]
    before: Array
    after: Array
    extent: tuple[float, float, float, float]
    unit: str

    def save(self, path: Path | str) -> Path:
        """Draw before, after and their difference as a picture (PNG, PDF, SVG, by suffix)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows, (height, width) = len(self.channels), self.before.shape[1:]
        tall = min(max(INCHES * height / width, 1.2), 3 * INCHES)
        figure = Figure(figsize=(3 * INCHES, rows * 0.84 * tall + 0.7), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{self.name}, after {self.step}")
        grid = figure.subplots(rows, 3, squeeze=False, sharex=True, sharey=True)
        for axes, channel, before, after in zip(
            grid, self.channels, self.before, self.after, strict=True
        ):
            self._draw(figure, axes, channel, before, after)
        for axis in grid[-1]:
            axis.set_xlabel(f"x, {self.unit}")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
        return path

    def _draw(
        self, figure: object, axes: Sequence[object], channel: str, before: Array, after: Array
    ) -> None:
        difference = after.astype(np.float64) - before
        spread = float(np.percentile(np.abs(difference), CONTRAST[1])) or 1.0
        pictures = [
            ("before", before, "gray", _limits(before)),
            ("after", after, "gray", _limits(after)),
            ("after - before", difference, "RdBu_r", (-spread, spread)),
        ]
        for axis, (title, image, colours, (low, high)) in zip(axes, pictures, strict=True):
            shown = axis.imshow(  # type: ignore[attr-defined]
                image, cmap=colours, vmin=low, vmax=high, extent=self.extent
            )
            where = f"{channel}, " if len(self.channels) > 1 else ""
            axis.set_title(f"{where}{title}", fontsize="medium")  # type: ignore[attr-defined]
            figure.colorbar(shown, ax=axis, fraction=0.05, pad=0.02)  # type: ignore[attr-defined]
        axes[0].set_ylabel(f"y, {self.unit}")  # type: ignore[attr-defined]


def preview(
    project: Project, *, z: int | None = None, area: Area | None = None, step: str | None = None
) -> Preview:
    """Take one slice through the chain; see `Pipeline.preview`."""
    names = [each.name for each in project.steps]
    if step is not None and step not in names:
        expected = ", ".join(names) or "nothing: process_steps is empty"
        raise ParameterError([Problem("step", f"one of {expected} expected, found {step!r}")])
    end = len(names) if step is None else names.index(step) + 1
    chains = project.chains(known_work(project)[0] if project.directory else {})
    for index, each in enumerate(project.steps[:end]):
        if not chains[0].is_applicable(index):
            message = (
                f"{each.name} needs its fit to the whole stack first: `run` finds it "
                "(or Pipeline.fit), then preview"
            )
            raise FitRequiredError(message)
    spec = chains[0].levels[end]
    region = _region(spec, z, area)
    source = source_slice(chains[0], end, region)
    return Preview(
        name=(spec.names or project.source.names)[region.start[0]],
        step=names[end - 1] if end else "nothing",
        channels=project.source.channels,
        before=_before(project.source, source),
        after=np.stack([_after(project.source, k, c, end, region) for k, c in enumerate(chains)]),
        extent=_extent(spec, region),
        unit="pixels" if spec.pixel_size is None else "µm",
    )


def _region(spec: StackSpec, z: int | None, area: Area | None) -> Region:
    slices = spec.shape[0]
    z = slices // 2 if z is None else z
    problems = list(check_area("area", area, spec))
    if not 0 <= z < slices:
        problems.append(Problem("z", f"0 to {slices - 1} expected, found {z}"))
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ParameterError(errors)
    return area_region(area, spec).with_z(z, z + 1)


def source_slice(chain: Chain, end: int, region: Region) -> Region:
    """Return the part of the acquisition that one slice of a region of a level shows."""
    first, last, z = chain.source, chain.levels[end], region.start[0]
    for index in reversed(range(end)):
        if not chain.steps[index].keeps_slices:
            one = chain.levels[index + 1].region.with_z(z, z + 1)
            z = _nearest(chain.step_source(index, one).z, chain.levels[index].z, last.z, region)
    shift = [a - b for a, b in zip(last.origin, first.origin, strict=True)]
    return region.shifted((0, *shift)).with_z(z, z + 1)


def _nearest(candidates: range, z: Positions, wanted: Positions, region: Region) -> int:
    """Return the slice that is nearest to the one shown, the first if positions are not known."""
    if not z or not wanted:
        return candidates[0]
    return min(candidates, key=lambda k: abs(z[k] - wanted[region.start[0]]))


def _before(source: Source, region: Region) -> Array:
    return np.stack([source.read(k, region)[0] for k in range(len(source.channels))])


def _after(source: Source, channel: int, chain: Chain, end: int, region: Region) -> Array:
    images: list[Array] = []
    work = Work(reads=0, end=end, stores=(end,))
    run_block(
        chain, work, region, partial(source.read, channel), lambda *found: images.append(found[2])
    )
    return cast(images[0], chain.result_dtype, chain.source.precision)


def _extent(spec: StackSpec, region: Region) -> tuple[float, float, float, float]:
    height, width = spec.pixel_size or (1.0, 1.0)
    _, (top, bottom), (left, right) = (
        (a + shift, b + shift)
        for a, b, shift in zip(region.start, region.stop, (0, *spec.origin), strict=True)
    )
    return left * width, right * width, bottom * height, top * height


def _limits(image: Array) -> tuple[float, float]:
    low, high = np.percentile(image, CONTRAST)
    return float(low), float(high) if high > low else float(low) + 1
