"""The same slices under many parameters, side by side and with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pystack3d_dask.core.area import Area
from pystack3d_dask.core.chain import source_slice
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.preview.preview import acquired, chosen_region, chosen_slice, rounded
from pystack3d_dask.preview.quality import Quality
from pystack3d_dask.preview.workbench import Estimate, Workbench, in_threads, level_after
from pystack3d_dask.project.parameters import ORIGIN, step_index, with_parameters
from pystack3d_dask.project.project import Project

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

ALIKE = 0.005  # scores nearer to each other than this do not tell which is better
MOST_CELLS = 400  # more are a mistake, and no grid to be looked at


@dataclass(frozen=True)
class Cell:
    """What one combination of parameters makes of the slices.

    Parameters
    ----------
    values : mapping
        The parameters, by path.
    images : ndarray, shape (slices, channels, rows, columns)
        In the type of the acquisition.
    quality : tuple of tuple of Quality
        By slice and channel.
    estimated : mapping
        By step name, from how many slices its fit was estimated.
    """

    values: Mapping[str, Any]
    images: Array
    quality: tuple[tuple[Quality, ...], ...]
    estimated: Mapping[str, Estimate]

    @property
    def score(self) -> float | None:
        """The mean of `Quality.score` over slices and channels; None without neighbors."""
        return self.figures().get("score")

    def figures(self) -> dict[str, float]:
        """Return the figures that there are by name, means over slices and channels."""
        found = [each.by_name() for row in self.quality for each in row]
        means = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        return {name: mean for name, mean in means.items() if np.isfinite(mean)}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A grid of small results. In a notebook it shows itself.

    Parameters
    ----------
    grid : mapping
        Values by path.
    cells : tuple of Cell
        One for each combination, the last path varying fastest.
    z : tuple of int
        The slices.
    channels : tuple of str
        Names of the channels.
    step : str
        The last correction that they went through.
    pixel, unit : float, str
        Width of a pixel, in "µm" or "pixels".
    before : ndarray, shape (rows, columns), optional
        The first slice and channel as acquired, where there are no scores to choose by.
    """

    grid: Mapping[str, tuple[Any, ...]]
    cells: tuple[Cell, ...]
    z: tuple[int, ...]
    channels: tuple[str, ...]
    step: str
    pixel: float
    unit: str
    before: Array | None = None

    @property
    def scores(self) -> tuple[float, ...]:
        """The score of each cell; none where a stack of one slice leaves nothing to compare."""
        return tuple(cell.score for cell in self.cells if cell.score is not None)

    @property
    def best(self) -> Cell | None:
        """The cell of the highest score, see `Quality.score`; the first one of equals.

        None where there are no scores, and where all of several are the same.
        """
        scores = self.scores
        if not scores or (len(scores) > 1 and min(scores) == max(scores)):
            return None
        return self.cells[scores.index(max(scores))]

    @property
    def labels(self) -> tuple[str, ...]:
        """What to know before one is chosen: what is estimated, and scores that hardly differ."""
        found = {name: each for cell in self.cells for name, each in cell.estimated.items()}
        labels = [f"{name} {estimate}" for name, estimate in found.items()]
        scores = self.scores
        if not scores:
            labels.append(
                "no scores, for there is no slice to compare with: choose by the pictures"
            )
        elif len(scores) > 1 and max(scores) - min(scores) < ALIKE:
            labels.append(f"all scores lie within {ALIKE}: choose by the pictures")
        return tuple(labels)

    def to_xarray(self) -> xr.Dataset:
        """Return the figures: a variable each, dims the paths, then ``z`` and ``c``.

        Values that are no numbers or texts become texts in the coordinates.
        """
        import xarray as xr

        dims = (*self.grid, "z", "c")
        shape = (*map(len, self.grid.values()), len(self.z), len(self.channels))
        rows = [each.by_name() for cell in self.cells for row in cell.quality for each in row]
        coords = {path: list(map(_coordinate, values)) for path, values in self.grid.items()}
        coords |= {"z": list(self.z), "c": list(self.channels)}
        variables = {
            name: (dims, np.array([row[name] for row in rows]).reshape(shape)) for name in rows[0]
        }
        return xr.Dataset(variables, coords)

    def table(self) -> list[list[str]]:
        """Return the figures as text, means over slices and channels, with a line of titles.

        Figures that take a neighbor are left out where there is none.
        """
        names = list(self.cells[0].figures())
        lines = [[*self.grid, *names, ""]]
        for cell in self.cells:
            figures = cell.figures()
            means = [f"{figures[name]:.4f}" for name in names]
            values = [str(_coordinate(value)) for value in cell.values.values()]
            lines.append([*values, *means, "best" if cell is self.best else ""])
        return lines

    def __str__(self) -> str:
        table = self.table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
        return "\n".join([*lines, *(f"note: {label}" for label in self.labels)])

    def plot(self) -> Figure:
        """Draw the first slice and channel of all cells in the same gray levels."""
        from pystack3d_dask.preview.pictures import sweep_figure

        return sweep_figure(self)

    def save(self, path: Path | str) -> Path:
        """Write that picture (PNG, PDF, SVG, by suffix) and return the path."""
        from pystack3d_dask.preview.pictures import save_figure

        return save_figure(self.plot(), path)

    def _repr_png_(self) -> bytes:
        from pystack3d_dask.preview.pictures import png

        return png(self.plot())


def sweep(
    project: Project,
    grid: Mapping[str, Sequence[Any]],
    *,
    z: Sequence[int] | None = None,
    area: Area | None = None,
    step: str | None = None,
) -> Sweep:
    """Take slices through the chain under many parameters; see `Pipeline.sweep`."""
    values = {path: _listed(path, several) for path, several in grid.items()}
    combinations = [dict(zip(values, each, strict=True)) for each in product(*values.values())]
    _check_size(combinations)
    end = level_after(project.steps, step)
    first = min(step_index(project.steps, path) for path in values)
    last = max(step_index(project.steps, path) for path in values)
    if last >= end:
        message = f"comes after {step}, the last step that is shown"
        raise ParameterError([Problem(project.steps[last].name, message)], ORIGIN)
    projects = [with_parameters(project, each) for each in combinations]
    shared = Workbench(project, first, from_records=False)
    looks = [replace(shared, project=each) for each in projects]
    slices = (None,) if z is None else tuple(z)
    if not slices:
        raise ParameterError([Problem("z", "one slice or more expected, found none")], ORIGIN)
    angle = stripe_angle(project.steps)
    cells = tuple(
        _cell(bench, end, slices, area, each, angle)
        for bench, each in zip(looks, combinations, strict=True)
    )
    chain = projects[0].chains()[0]
    spec = chain.levels[end]
    shown = tuple(chosen_slice(spec.shape[0], each) for each in slices)
    before = None
    if all(cell.score is None for cell in cells):
        region = chosen_region(spec, area).with_z(shown[0], shown[0] + 1)
        before = acquired(project.source, source_slice(chain, end, region))[0][0]
    return Sweep(
        grid=values,
        cells=cells,
        z=shown,
        channels=project.source.channels,
        step=project.steps[end - 1].name,
        pixel=1.0 if spec.pixel_size is None else spec.pixel_size[1],
        unit="pixels" if spec.pixel_size is None else "µm",
        before=before,
    )


def _cell(
    bench: Workbench,
    end: int,
    z: Sequence[int | None],
    area: Area | None,
    values: Mapping[str, Any],
    angle: float,
) -> Cell:
    count = bench.project.chains()[0].levels[end].shape[0]
    chosen = [chosen_slice(count, each) for each in z]
    beside = {each: _neighbor(each, count) for each in chosen}
    needed = sorted({*chosen, *beside.values()})
    fitted = bench.fitted(needed, end)
    frame = chosen_region(fitted.chains[0].levels[end], area)
    found = bench.images(fitted, end, [frame.with_z(each, each + 1) for each in needed])
    images = {
        each: [rounded(image, chain) for image, chain in zip(row, fitted.chains, strict=True)]
        for each, row in zip(needed, found, strict=True)
    }

    def judged(z: int) -> tuple[Quality, ...]:
        neighbors = images[beside[z]] if beside[z] != z else [None] * len(images[z])
        return tuple(
            Quality.of(image, neighbor, angle)
            for image, neighbor in zip(images[z], neighbors, strict=True)
        )

    return Cell(
        values,
        np.stack([images[each] for each in chosen]),
        tuple(in_threads(judged, chosen)),
        fitted.estimates,
    )


def stripe_angle(steps: Sequence[Step]) -> float:
    """Return the angle of the stripes that a chain removes, 0 if it removes none."""
    angles = (step.stripe_angle for step in steps)
    return next((angle for angle in angles if angle is not None), 0.0)


def _neighbor(z: int, count: int) -> int:
    """Return the slice that one is compared with: before it, after the first, itself if alone."""
    return z - 1 if z else min(1, count - 1)


def _listed(path: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ParameterError(
            [Problem(path, f"a list of values expected, found {values!r}")], ORIGIN
        )
    listed = tuple(each.item() if isinstance(each, np.generic) else each for each in values)
    if not listed:
        raise ParameterError([Problem(path, "one value or more expected, found none")], ORIGIN)
    return listed


def _check_size(combinations: Sequence[Mapping[str, Any]]) -> None:
    if combinations == [{}]:
        message = "values by path expected, found none: {'destriping.maxit': [10, 50]}"
        raise ParameterError([Problem("", message)], ORIGIN)
    if len(combinations) > MOST_CELLS:
        message = f"{MOST_CELLS} combinations at most expected, found {len(combinations)}"
        raise ParameterError([Problem("", message)], ORIGIN)


def _coordinate(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
