"""Pictures of previews and sweeps, as matplotlib figures that no window manager knows of."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pystack3d_dask.core.typing import Array
from pystack3d_dask.viz.scale_bar import draw_scale_bar

Layout = Literal["constrained"] | None

CONTRAST = (0.5, 99.5)  # percentiles of the gray levels that are drawn black and white
INCHES = 3.7  # width of a picture of a preview
GAP, BAR, NUMBERS = 0.12, 0.16, 0.8  # inches: between pictures, a color bar, what it says
HEAD, FOOT, ABOVE, BELOW = 0.4, 0.35, 0.3, 0.55  # inches around all, and around each row
SWEEP_INCHES = 12.5  # width of all columns of a sweep
SCREEN_DPI, FILE_DPI = 100, 150
COMPRESSION = 1  # of PNG files: the highest takes three times as long for a few percent
BINS = 128
LONGEST = 12  # times as wide as high, or as high as wide: what is longer is drawn stretched
ENOUGH = 800  # pixels along the longer side of a picture
FEW = 10  # pixels along a side that are all drawn
SAMPLES = 2**18  # pixels from which the contrast is taken
QUICKLY: dict[str, Any] = {"pil_kwargs": {"compress_level": COMPRESSION}}
BEFORE, AFTER, BEST, WARNING = "0.55", "C0", "C2", "C1"
MOST_COLUMNS = 5


class Shown(Protocol):
    """A slice before and after, as `pystack3d_dask.preview.preview.Preview` has it."""

    @property
    def name(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def before(self) -> Array: ...
    @property
    def after(self) -> Array: ...
    @property
    def moved(self) -> Array | None: ...
    @property
    def difference(self) -> Array: ...
    @property
    def extent(self) -> tuple[float, float, float, float]: ...
    @property
    def unit(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


class CellShown(Protocol):
    """A cell of a sweep, as `pystack3d_dask.preview.sweep.Cell` has it."""

    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def images(self) -> Array: ...
    @property
    def score(self) -> float | None: ...


class SweepShown(Protocol):
    """A grid of results, as `pystack3d_dask.preview.sweep.Sweep` has it."""

    @property
    def grid(self) -> Mapping[str, tuple[Any, ...]]: ...
    @property
    def cells(self) -> Sequence[CellShown]: ...
    @property
    def best(self) -> CellShown | None: ...
    @property
    def z(self) -> tuple[int, ...]: ...
    @property
    def step(self) -> str: ...
    @property
    def pixel(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def before(self) -> Array | None: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


def preview_figure(preview: Shown) -> Figure:
    """Return before, after, difference and histograms of a preview, a row for each channel."""
    rows, shape = len(preview.channels), preview.before.shape[1:]
    tall = INCHES * _height(shape)
    foot = FOOT if preview.labels else 0.0
    across = 4 * INCHES + 4 * GAP + BAR + NUMBERS
    # places by arithmetic, not a layout: that would have to draw all of it twice
    figure = _figure(across, HEAD + rows * (ABOVE + tall + BELOW) + foot, layout=None)
    _title(figure, f"{preview.name}, after {preview.step}", preview.labels, GAP)
    bottom = figure.get_figheight() - HEAD - ABOVE - tall
    for images in zip(
        preview.channels, preview.before, preview.after, preview.difference, strict=True
    ):
        _draw_channel(_row(figure, bottom, tall), preview, *images)
        bottom -= ABOVE + tall + BELOW
    return figure


def _row(figure: Figure, bottom: float, height: float) -> list[Any]:
    """Return axes for three pictures, gray levels, and the color bar of the third picture.

    ``bottom`` and ``height`` are in inches.
    """
    lefts = [GAP + k * (INCHES + GAP) for k in range(3)]
    bar = lefts[2] + INCHES + GAP / 2
    levels = bar + BAR + NUMBERS
    end = figure.get_figwidth() - 2 * GAP
    boxes = [*((left, INCHES) for left in lefts), (levels, end - levels), (bar, BAR)]
    across, down = figure.get_size_inches()
    return [
        figure.add_axes((left / across, bottom / down, width / across, height / down))
        for left, width in boxes
    ]


def sweep_figure(sweep: SweepShown) -> Figure:
    """Return one picture per cell of a sweep, the best one framed: its first slice and channel.

    Where there are no scores, none is framed, and the first picture is of what comes to the
    first step that changes.
    """
    rows, columns, cells = _arranged(sweep)
    shape = cells[0].images.shape[-2:]
    side = SWEEP_INCHES / max(columns, 3)
    tall = side * _height(shape)
    lines = 1 + len(sweep.grid)
    figure = _figure(columns * side + 0.3, rows * (tall + 0.17 * lines + 0.1) + 0.9)
    _title(figure, f"slice {sweep.z[0]}, after {sweep.step}", sweep.labels)
    limits = _limits(*(cell.images[0, 0] for cell in cells))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    first = 0 if sweep.before is None else 1
    if sweep.before is not None:
        _show(grid[0], sweep.before, _limits(sweep.before), None)
        grid[0].set_title("input", fontsize="small")
        grid[0].set_frame_on(False)
    for axes, cell in zip(grid[first:], cells, strict=False):
        _show(axes, cell.images[0, 0], limits, None)
        name = "\n".join(f"{_short(path)} = {value}" for path, value in cell.values.items())
        is_best = cell is sweep.best
        mark, color = (" (best)", BEST) if is_best else ("", "black")
        text = name if cell.score is None else f"{name}\nscore {cell.score:.4f}{mark}"
        axes.set_title(text, fontsize="small", color=color)
        for edge in axes.spines.values():
            edge.set(visible=is_best, color=BEST, linewidth=3)
    for axes in grid[first + len(cells) :]:
        axes.set_axis_off()
    draw_scale_bar(grid[0], shape[1] * sweep.pixel, sweep.unit)
    return figure


def _arranged(sweep: SweepShown) -> tuple[int, int, Sequence[CellShown]]:
    """Return rows and columns of the picture of a sweep, and the cells row by row.

    Without scores there is one picture more than cells. Of two parameters the one with more
    values goes along the columns.
    """
    counts = [len(values) for values in sweep.grid.values()]
    cells = sweep.cells
    across = counts[-1] if len(counts) > 1 else len(cells)
    if len(counts) == 2 and counts[0] > counts[1]:
        across = counts[0]
        cells = [cell for k in range(counts[1]) for cell in cells[k :: counts[1]]]
    pictures = len(cells) + (sweep.before is not None)
    columns = min(across if pictures == len(cells) else pictures, MOST_COLUMNS)
    return -(-pictures // columns), columns, cells


def save_figure(figure: Figure, path: Path | str) -> Path:
    """Write a figure (PNG, PDF, SVG, by suffix), making directories as needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=FILE_DPI, **(QUICKLY if path.suffix.lower() == ".png" else {}))
    return path


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, for notebooks."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=SCREEN_DPI, **QUICKLY)
    return file.getvalue()


def _figure(width: float, height: float, layout: Layout = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Figure, text: str, labels: Sequence[str], margin: float | None = None) -> None:
    """Write a title, and below it, to be seen, what is only estimated.

    So many inches from the edges, or where a layout puts them.
    """
    edge = None if margin is None else margin / figure.get_figheight()
    figure.suptitle(text, fontsize="large", y=None if edge is None else 1 - edge)
    if labels:
        between = "; " if figure.get_figwidth() > 4 * INCHES else "\n"
        figure.supxlabel(between.join(labels), fontsize="medium", color=WARNING, y=edge)


def _draw_channel(
    axes: Sequence[Any],
    preview: Shown,
    channel: str,
    before: Array,
    after: Array,
    difference: Array,
) -> None:
    where = f"{channel}, " if len(preview.channels) > 1 else ""
    limits = _limits(before, after)
    spread = float(np.percentile(np.abs(_some(difference)), CONTRAST[1])) or 1.0
    stretched = ", stretched" if _is_extreme(before.shape) else ""
    _show(axes[0], before, limits, preview.extent)
    _show(axes[1], after, limits, preview.extent)
    shown = _show(axes[2], difference, (-spread, spread), preview.extent, "RdBu_r")
    axes[2].figure.colorbar(shown, cax=axes[4])
    left, right, _, _ = preview.extent
    draw_scale_bar(axes[0], right - left, preview.unit)
    _histograms(axes[3], before, after)
    change = "after - before" + ", aligned" * (preview.moved is not None)
    titles = (*(f"{each}{stretched}" for each in ("before", "after", change)), "gray levels")
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(f"{where}{title}", fontsize="medium")


def _show(
    axes: Any,
    image: Array,
    limits: tuple[float, float],
    extent: tuple[float, float, float, float] | None,
    colors: str = "gray",
) -> Any:
    axes.set(xticks=[], yticks=[])
    low, high = limits
    return axes.imshow(
        _reduced(image),
        cmap=colors,
        vmin=low,
        vmax=high,
        extent=extent or (0, image.shape[1], image.shape[0], 0),
        aspect="auto" if _is_extreme(image.shape) else "equal",
        interpolation_stage="data",  # a quarter of the work of reducing colors
    )


def _reduced(image: Array) -> Array:
    """Return an image with no more pixels than can be seen: means over squares of them.

    Of a side with few pixels, more are kept.
    """
    factor = max(image.shape) // ENOUGH
    down, across = (max(1, min(factor, extent // FEW)) for extent in image.shape)
    rows, columns = image.shape[0] // down * down, image.shape[1] // across * across
    # float64: matplotlib takes the difference of gray levels in the type that it is given
    if down == across == 1:
        return image.astype(np.float64) if image.dtype.kind == "f" else image
    total = np.zeros((rows // down, columns // across))
    for y, x in product(range(down), range(across)):  # faster than a mean over short axes
        total += image[y:rows:down, x:columns:across]
    total /= down * across
    return total


def _histograms(axes: Any, before: Array, after: Array) -> None:
    """Draw the gray levels of both, as shares of the pixels."""
    edges = _bins(before, after)
    bins, ends = len(edges) - 1, (edges[0], edges[-1])  # not edges: pixels would be sorted
    for image, name, color in ((before, "before", BEFORE), (after, "after", AFTER)):
        counts, _ = np.histogram(image, bins, ends)
        axes.stairs(counts / image.size, edges, fill=True, alpha=0.35, color=color)
        axes.stairs(counts / image.size, edges, color=color, label=name)
    axes.set(yticks=[], xlabel="gray level")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _bins(*images: Array) -> Array:
    """Return the edges of equal bins, of integers a whole number of gray levels wide."""
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    if images[0].dtype.kind in "iu":
        width = max(1.0, np.ceil((high - low) / BINS))
        return np.arange(low - 0.5, high + 1.5 * width, width)
    half = (high - low) / 2 or max(0.5, abs(low) / BINS)
    return (low + high) / 2 + np.linspace(-half, half, BINS + 1)


def _height(shape: Sequence[int]) -> float:
    """Return the height of a picture over its width, for an image of so many rows and columns."""
    return float(min(max(shape[0] / shape[1], 0.4), 2.5))


def _is_extreme(shape: Sequence[int]) -> bool:
    """Return whether an image is so long that it is but a line unless it is stretched."""
    return max(shape) > LONGEST * min(shape)


def _limits(*images: Array) -> tuple[float, float]:
    """Return the gray levels that are black and white in all of some images."""
    ends = np.array([np.percentile(_some(image), CONTRAST) for image in images])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    return low, high if high > low else low + max(1.0, abs(low) / BINS)


def _some(image: Array) -> Array:
    """Return every n-th pixel along both axes, no more than contrast takes, as floats."""
    step = max(1, int(np.sqrt(image.size / SAMPLES)))
    down, across = (min(step, extent) for extent in image.shape)
    return image[::down, ::across].astype(np.float64)


def _short(path: str) -> str:
    """Return a path without the step."""
    return path.partition(".")[2]
