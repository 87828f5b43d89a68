"""Draws charts, planes and cubes, without a display."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Affine2D, Bbox

from pystack3d_dask.core.charts import Lines, Maps
from pystack3d_dask.core.typing import Array
from pystack3d_dask.report.pictures import Cube, Cuts
from pystack3d_dask.viz.scale_bar import draw_scale_bar

INCHES = 5.0  # width of a chart: two stand side by side on a screen, one on a telephone
LEFT = 0.62  # margin for the labels of ordinates
DOTS = 200  # per inch, of the pictures for papers
SCREEN_DOTS = 150  # and of those on the page
INK = "#1b1f26"
DARK_INK = "#d7dce3"
GRID = "#8b93a1"
FLAG = "#d1242f"
ROLES = {"before": "#8b93a1", "target": "#e08a1e", "after": "#2471c8"}
OTHERS = ("#2471c8", "#e08a1e", "#2d9d78", "#a259b5", "#c44e52", "#6b7785")
MOST_IN_LEGEND = 6
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pystack3d-dask",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "path.simplify_threshold": 0.3,
}


def svg(item: Any) -> bytes:
    """Return a chart as an SVG image that follows the light or dark mode of the page."""
    with _styled():
        found = io.BytesIO()
        draw(item).savefig(found, format="svg", transparent=True, metadata={"Date": None})
    text = found.getvalue().decode().replace(INK, "currentColor")
    head, tag, rest = text.partition("<defs>")
    dark = f"@media (prefers-color-scheme: dark) {{svg {{color: {DARK_INK}}}}}"
    return f"{head}<style>svg {{color: {INK}}} {dark}</style>{tag}{rest}".encode()


def png(item: Any, dots: int = DOTS) -> bytes:
    """Return anything that can be drawn as a PNG image, on white."""
    with _styled():
        found = io.BytesIO()
        figure = draw(item)
        FigureCanvasAgg(figure)
        figure.savefig(found, format="png", dpi=dots, metadata={"Software": None})
    return found.getvalue()


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE}):
        yield


@singledispatch
def draw(item: Any) -> Figure:
    """Return the figure of a chart or picture.

    Raises
    ------
    TypeError
        For what cannot be drawn, such as a table.
    """
    message = f"a chart or a picture expected, found {type(item).__name__}"
    raise TypeError(message)


def is_drawn(item: Any) -> bool:
    """Return whether `draw` knows how to draw something."""
    return draw.dispatch(type(item)) is not draw.dispatch(object)


@draw.register
def _(item: Lines) -> Figure:
    height = 0.87 + max(1.05, 2.3 / len(item.panels)) * len(item.panels)
    figure, grid, box = _panels((len(item.panels), 1), height, top=0.42)
    for axes, (label, series) in zip(grid[:, 0], item.panels.items(), strict=True):
        _draw_panel(axes, item, label, series)
    last = grid[-1, 0]
    last.set_xlabel(item.x)
    if item.positions is None:
        last.xaxis.set_major_locator(_ticks(8, integer=True))
        margin = 0.5 + 0.02 * len(item.abscissa)
        last.set_xlim(-margin, len(item.abscissa) - 1 + margin)  # also where little is known
    first = next(iter(item.panels.values()))
    if len(first) <= MOST_IN_LEGEND and any(first):
        figure.legend(
            *grid[0, 0].get_legend_handles_labels(),
            loc="upper right",
            bbox_to_anchor=(box.x1, 1),
            ncols=min(3, len(first)),
            handlelength=1.2,
            columnspacing=1,
            borderaxespad=0.1,
        )
    return figure


def _draw_panel(axes: Any, item: Lines, label: str, series: Mapping[str, Array]) -> None:
    x = item.abscissa
    others = iter(OTHERS * (len(series) // len(OTHERS) + 1))
    is_few = len(x) <= 60
    for name, values in series.items():
        axes.plot(
            x[: len(values)],
            values,
            color=ROLES.get(name) or next(others),
            linewidth=2.2 if name == "before" else 1.2,  # seen beneath the same values after
            marker="o" if is_few and item.positions is None else None,
            markersize=2.2,
            label=name or label,
        )
        if name in ("", "after"):
            flagged = [z for z in item.flags if z < len(values)]
            axes.plot(
                flagged,
                np.asarray(values, float)[flagged],
                "o",
                color=FLAG,
                markerfacecolor="none",
                markersize=6,
                markeredgewidth=1.1,
            )
    axes.set_title(label, loc="left", pad=3)
    axes.grid(visible=True)
    if item.logarithmic and any(np.any(values > 0) for values in series.values()):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.yaxis.set_major_locator(_ticks(4))
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")


@draw.register
def _(item: Maps) -> Figure:
    shown = {name: np.asarray(values, np.float64) for name, values in item.maps.items()}
    limits = _limits(list(shown.values()), from_zero=not item.is_image)
    return (_draw_images if item.is_image else _draw_rows)(item, shown, limits)


def _draw_images(item: Maps, shown: Mapping[str, Array], limits: tuple[float, float]) -> Figure:
    left_edge, right_edge, first, last = item.extent
    shape = min(max((last - first) / (right_edge - left_edge), 0.3), 2.5)
    count = len(shown)
    wide = (INCHES - LEFT - 0.75 - 0.12 * (count - 1)) / count
    figure, grid, box = _panels(
        (1, count), wide * shape + 0.85, right=0.75, bottom=0.55, space=0.12 / wide
    )
    for axes, (name, values) in zip(grid[0], shown.items(), strict=True):
        picture = axes.imshow(
            values,
            cmap="RdBu_r",
            vmin=limits[0],
            vmax=limits[1],
            aspect="auto",
            extent=(left_edge, right_edge, last, first),
        )
        axes.set_title(name, loc="left", pad=3)
        axes.set_xlabel(item.x)
        axes.xaxis.set_major_locator(_ticks(3))
    grid[0, 0].set_ylabel(item.y)
    _color_bar(figure, picture, box, item.value)
    return figure


def _draw_rows(item: Maps, shown: Mapping[str, Array], limits: tuple[float, float]) -> Figure:
    count = len(shown)
    figure, grid, box = _panels((count, 1), 1.25 * count + 0.75, right=0.75)
    for axes, (name, values) in zip(grid[:, 0], shown.items(), strict=True):
        picture = axes.imshow(
            values,
            cmap="magma_r",
            norm=mpl.colors.PowerNorm(0.5, *limits),
            aspect="auto",
            origin="lower",
            extent=item.extent,
            interpolation="nearest" if values.shape[1] < 500 else "antialiased",
        )
        axes.set_title(name, loc="left", pad=3)
        axes.set_ylabel(item.y)
        axes.yaxis.set_major_locator(_ticks(4))
    grid[-1, 0].set_xlabel(item.x)
    grid[-1, 0].xaxis.set_major_locator(_ticks(8, integer=True))
    _color_bar(figure, picture, box, item.value)
    return figure


def _color_bar(figure: Figure, picture: Any, box: Bbox, label: str) -> None:
    place = figure.add_axes((box.x1 + 0.02, box.y0, 0.02, box.height))
    bar = figure.colorbar(picture, cax=place)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(_ticks(5))
    bar.ax.set_title(label, loc="right", pad=5)


def _limits(maps: Sequence[Array], from_zero: bool) -> tuple[float, float]:
    """Return the range of all maps: from zero, or alike to both sides of it."""
    known = np.concatenate([values[~np.isnan(values)] for values in maps])
    largest = float(np.abs(known).max(initial=0)) or 1.0
    return (0.0, largest) if from_zero else (-largest, largest)


@draw.register
def _(item: Cuts) -> Figure:
    planes = item.planes
    (_, height, width), depth = planes.size, planes.shown_depth
    gap = 0.05 * (width + depth)
    scale = (INCHES - 0.75) / (width + gap + depth)
    figure = Figure(figsize=(INCHES, (height + gap + depth) * scale + 0.75))
    page_width, page_height = figure.get_size_inches()
    left, bottom = LEFT / page_width, 0.5 / page_height
    w, h, d, g = ((each * scale) for each in (width, height, depth, gap))

    def axes_at(x: float, y: float, wide: float, tall: float, **shared: Any) -> Any:
        box = (left + x / page_width, bottom + y / page_height, wide / page_width)
        return figure.add_axes((*box, tall / page_height), **shared)

    xy = axes_at(0, d + g, w, h)
    xz = axes_at(0, 0, w, d, sharex=xy)
    yz = axes_at(w + g, d + g, d, h, sharey=xy)
    low, high = item.limits
    for axes, image, extent in (
        (xy, planes.xy, (0, width, height, 0)),
        (xz, planes.xz, (0, width, planes.size[0], 0)),
        (yz, planes.yz, (0, planes.size[0], height, 0)),
    ):
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="auto")
        for spine in axes.spines.values():
            spine.set_visible(False)
    for axes, across, down in ((xy, width, height), (xz, width, None), (yz, None, height)):
        if across:
            axes.axvline(across / 2, color="#ffd33d", linewidth=0.6, alpha=0.8, dashes=(4, 4))
        if down:
            axes.axhline(down / 2, color="#ffd33d", linewidth=0.6, alpha=0.8, dashes=(4, 4))
    xy.set_ylabel(f"y, {planes.unit}")
    xz.set_ylabel(f"z, {planes.unit}")
    xz.set_xlabel(f"x, {planes.unit}")
    yz.set_xlabel(f"z, {planes.unit}")
    xy.tick_params(labelbottom=False)
    yz.tick_params(labelleft=False)
    for axis in (xz.yaxis, yz.xaxis):
        axis.set_major_locator(_ticks(2))
    draw_scale_bar(xy, width, planes.unit)
    return figure


@draw.register
def _(item: Cube) -> Figure:
    planes = item.planes
    (_, height, width), depth = planes.size, planes.shown_depth
    slant = depth * 0.5 * np.sqrt(0.5) * 1.4
    scale = INCHES * 0.96 / (width + slant)
    figure = Figure(figsize=(INCHES, (height + slant) * scale * 1.04))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    axes.set_axis_off()
    axes.set_xlim(0, width + slant)
    axes.set_ylim(0, height + slant)
    low, high = item.limits
    up = Affine2D(np.array([[1, slant / depth, 0], [0, slant / depth, height], [0, 0, 1]]))
    across = Affine2D(np.array([[slant / depth, 0, width], [slant / depth, 1, 0], [0, 0, 1]]))
    for image, extent, place in (
        (planes.front[::-1], (0, width, 0, height), Affine2D()),
        (planes.top, (0, width, 0, depth), up),
        (planes.right[::-1], (0, depth, 0, height), across),
    ):
        axes.imshow(
            image,
            cmap="gray",
            vmin=low,
            vmax=high,
            origin="lower",
            extent=extent,
            aspect="auto",
            transform=place + axes.transData,
        )
    axes.set_xlim(0, width + slant)
    axes.set_ylim(0, height + slant)
    edges: dict[str, Any] = {"color": "white", "linewidth": 0.6, "alpha": 0.7}
    axes.plot([0, width, width], [height, height, 0], **edges)
    axes.plot([width, width + slant], [height, height + slant], **edges)
    return figure


def _ticks(count: int, integer: bool = False) -> MaxNLocator:
    return MaxNLocator(count, integer=integer, steps=[1, 2, 5, 10])


def _panels(
    shape: tuple[int, int],
    height: float,
    *,
    right: float = 0.12,
    top: float = 0.3,
    bottom: float = 0.45,
    space: float = 0.32,
) -> tuple[Figure, Any, Bbox]:
    """Return a figure of the width of charts, its panels on common axes, and what these cover.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of panels; panels of one row have a common ordinate.
    height, right, top, bottom : float
        Of the figure and its margins, in inches.
    space : float
        Between panels, as a fraction of one.
    """
    figure = Figure(figsize=(INCHES, height))
    box = Bbox.from_extents(LEFT / INCHES, bottom / height, 1 - right / INCHES, 1 - top / height)
    grid = figure.subplots(
        *shape,
        sharex=True,
        sharey="row",
        squeeze=False,
        gridspec_kw={
            "left": box.x0,
            "bottom": box.y0,
            "right": box.x1,
            "top": box.y1,
            "hspace": space,
            "wspace": space,
        },
    )
    return figure, grid, box
