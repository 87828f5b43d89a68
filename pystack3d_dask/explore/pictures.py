"""Pictures of a volume of any size: each loads what it shows, and says what that takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pystack3d_dask.errors import StackError
from pystack3d_dask.explore.boxes import Box, draw_box
from pystack3d_dask.explore.drawing import (
    COLORS,
    INK,
    Limits,
    Picture,
    draw_plane,
    frame,
    label,
)
from pystack3d_dask.explore.gray import Histogram, histogram_of, ordinal, sample
from pystack3d_dask.explore.volume import Plane, Volume, as_volume, gray_limits, load, spans
from pystack3d_dask.viz.scale_bar import draw_scale_bar

MOST = 1000  # voxels along an axis of a picture
PANELS = 20  # of a montage
GAP = 0.08  # inches between panels
READABLE = 0.55  # inches that a panel needs for what is written at it
TITLE = 4.0  # inches that the title of a montage needs
TALLEST = 12.0  # inches
SIDE = 8.0  # inches, of all panels together
TAIL = "#D55E00"  # of a cumulative distribution


def planes(
    stack: Any,
    z: int | None = None,
    y: int | None = None,
    x: int | None = None,
    *,
    channel: int | str = 0,
    limits: Limits | None = None,
    most: int = MOST,
) -> Picture:
    """Show three planes that cross each other, each as wide and high as it is.

    Loads one slice, and one row and one column of every slice; of stacks of more than
    ``most`` slices, of every n-th. Files with compressed tiles or strips decode more than is
    shown: of a huge result, a coarser level is faster (``open_result(directory, level=2)``).
    Of a stack that is yet to be computed, such as a lazy correction, all blocks that a plane
    crosses are computed.

    Parameters
    ----------
    stack : DataArray or array-like
        From `open_stack`, `open_result` or a correction, dims (z, y, x) or (c, z, y, x); or
        an array of three axes. Coordinates in micrometers give the aspect, irregular z too.
    z, y, x : int, optional
        Indices of the planes; the middle ones by default.
    channel : int or str
        Place or name of the channel.
    limits : tuple of float, optional
        The gray levels drawn black and white; by default the percentiles 0.5 and 99.5 of
        what is shown.
    most : int
        Voxels along each axis of the picture: more rows or columns are averaged.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StackError
        When ``stack`` is no stack, or there is no such plane or channel.
    """
    volume = as_volume(stack, channel)
    cuts = [volume.cut(name, index, most) for name, index in (("z", z), ("y", y), ("x", x))]
    xy, xz, zy = load(cuts)
    zy = zy.turned()
    limits = limits or gray_limits([plane.image for plane in (xy, xz, zy)])
    depth, height, width = spans(*volume.axes)
    scale = SIDE / max(width + depth, height + depth)
    left, bottom, margin = 0.8, 0.65, 0.15
    across, below = scale * width, scale * depth
    figure = Picture(
        left + across + GAP + below + margin, bottom + below + GAP + scale * height + margin
    )
    top = bottom + below + GAP
    spots = (
        (xy, (left, top, across, scale * height)),
        (xz, (left, bottom, across, below)),
        (zy, (left + across + GAP, top, below, scale * height)),
    )
    indices = {cut.name: cut.index for cut in cuts}
    for plane, spot in spots:
        axes = figure.panel(*spot)
        draw_plane(axes, plane, limits)
        _mark(axes, plane, volume, indices)
        _describe(axes, plane, spot)
    return figure


def montage(
    stack: Any,
    every: int | None = None,
    columns: int | None = None,
    *,
    channel: int | str = 0,
    limits: Limits | None = None,
) -> Picture:
    """Show every n-th slice, all in the same gray levels.

    Loads these slices, whole, and keeps a reduced copy of each.

    Parameters
    ----------
    stack : DataArray or array-like
        See `planes`.
    every : int, optional
        Every which slice; by default so that there are 20 panels or fewer.
    columns : int, optional
        Panels side by side; by default so that the figure is a little wider than high.
    channel, limits
        See `planes`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StackError
        When ``every`` or ``columns`` is below 1, and as `planes` does.
    """
    volume = as_volume(stack, channel)
    slices = len(volume.axes[0])
    for name, given in (("every", every), ("columns", columns)):
        if given is not None and given < 1:
            message = f"{name}: 1 or more expected, found {given}"
            raise StackError(message)
    every = every or -(-slices // PANELS)
    shown = range(0, slices, every)
    height, width = spans(*volume.axes[1:])
    columns = min(columns or _columns(len(shown), width / height), len(shown))
    rows = -(-len(shown) // columns)
    across = min(11.0 / columns, 7.5 / rows * width / height)
    up = across * height / width
    pixels = max(64, round(200 * max(across, up)))  # of a panel, at twice the usual resolution
    found = [load([volume.cut("z", k, pixels)])[0] for k in shown]
    limits = limits or gray_limits([plane.image for plane in found])
    wide = max(columns * (across + GAP) + GAP, TITLE)
    figure = Picture(wide, rows * (up + GAP) + GAP + 0.35)
    for number, plane in enumerate(found):
        row, column = divmod(number, columns)
        spot = (GAP + column * (across + GAP), GAP + (rows - 1 - row) * (up + GAP), across, up)
        axes = figure.panel(*spot, xticks=[], yticks=[])
        draw_plane(axes, plane, limits)
        axes.set(xticks=[], yticks=[])
        label(axes, plane.cut.title, size=_size(across))
        if number == 0:
            draw_scale_bar(axes, plane.columns.span, plane.columns.unit, _size(across))
    which = "all" if every == 1 else f"every {ordinal(every)} of"
    title = f"{which} {slices} slices, gray levels {_level(limits[0])} to {_level(limits[1])}"
    figure.text(
        0.5, 1 - 0.2 / figure.get_size_inches()[1], title, ha="center", va="center", color=INK
    )
    return figure


def box(
    stack: Any,
    z: int | None = None,
    *,
    channel: int | str = 0,
    limits: Limits | None = None,
    faces: bool = True,
    most: int = MOST,
) -> Picture:
    """Show a slice where it lies in the volume.

    The volume is drawn as after milling down to the slice: its outline in front, the slice,
    and behind it, from above and from the right, the faces of what is left. Depth is
    foreshortened.

    Parameters
    ----------
    stack : DataArray or array-like
        See `planes`.
    z : int, optional
        Index of the slice; the middle one by default.
    channel, limits, most
        See `planes`.
    faces : bool
        Draw the faces behind the slice: loads the first row and the last column of all
        slices, see `planes`. Otherwise only the slice is loaded.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StackError
        As `planes` does.
    """
    volume = as_volume(stack, channel)
    cuts = [volume.cut("z", z, most)]
    if faces:
        cuts += [volume.cut("y", 0, most), volume.cut("x", -1, most)]
    found = load(cuts)
    limits = limits or gray_limits([plane.image for plane in found])
    shape = Box.of(volume)
    left, right, bottom, top = shape.bounds
    tall = 8.0 * abs(top - bottom) / (right - left)
    figure = Picture(8.0, min(tall, TALLEST))
    draw_box(figure.add_axes((0.0, 0.0, 1.0, 1.0)), shape, found, limits)
    return figure


def histogram(
    stack: Any,
    *,
    bins: int = 256,
    log: bool = False,
    channel: int | str = 0,
    slices: int = 32,
    pixels: int = 4_000_000,
) -> Picture:
    """Show how often gray levels occur, and their cumulative distribution.

    Loads ``slices`` evenly spread slices, and counts every n-th row and column of them; the
    title says how much that is of the stack.

    Parameters
    ----------
    stack : DataArray or array-like
        See `planes`.
    bins : int
        Bins at most, between the smallest and the largest level found.
    log : bool
        Count on a logarithmic scale.
    channel : int or str
        See `planes`.
    slices, pixels : int
        Slices that are loaded at most, and voxels that are counted, roughly.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StackError
        As `planes` does.
    """
    found = sample(as_volume(stack, channel), slices, pixels)
    figure = Picture(7.5, 4.2)
    axes = figure.panel(0.85, 0.65, 5.9, 3.1)
    draw_histogram(axes, histogram_of(found.values, bins), is_log=log)
    axes.set_title(str(found), fontsize=9, color=INK, loc="left")
    return figure


def compare(
    stacks: Mapping[str, Any],
    z: int | None = None,
    *,
    channel: int | str = 0,
    limits: Limits | None = None,
    log: bool = False,
    most: int = MOST,
) -> Picture:
    """Show the same slice of several stacks, above its histogram and cumulative distribution.

    Loads that slice of each; of lazy corrections its block is computed. For corrections of
    exposure give the ends of the type as ``limits``: then the pictures show what the numbers are.

    Parameters
    ----------
    stacks : mapping of str to DataArray or array-like
        By the name that stands above them, see `planes`.
    z : int, optional
        Index of the slice; the middle one by default.
    channel, most
        See `planes`.
    limits : tuple of float, optional
        The gray levels drawn black and white, the same for all; by default the percentiles
        0.5 and 99.5 of each.
    log : bool
        Count on a logarithmic scale.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StackError
        When there is none, and as `planes` does.
    """
    if not stacks:
        message = "compare: one stack or more, by name, expected, found none"
        raise StackError(message)
    volumes = {name: as_volume(stack, channel) for name, stack in stacks.items()}
    found = load([volume.cut("z", z, most) for volume in volumes.values()])
    shape = max(high / wide for high, wide in (spans(each.rows, each.columns) for each in found))
    across = min(3.4, 13.0 / len(found) - 0.4)
    up, below, gap = across * shape, 0.45 * across + 0.2, 0.45
    up = min(up, TALLEST)
    figure = Picture(0.3 + len(found) * (across + gap), 0.35 + up + 0.2 + below + 0.5)
    for column, (name, plane) in enumerate(zip(volumes, found, strict=True)):
        at = 0.3 + column * (across + gap)
        axes = figure.panel(at, 0.5 + below + 0.2, across, up)
        draw_plane(axes, plane, limits or gray_limits([plane.image]))
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=10, color=INK)
        if column == 0:
            draw_scale_bar(axes, plane.columns.span, plane.columns.unit, _size(across))
            label(axes, plane.cut.title, _size(across))
        axes = figure.panel(at, 0.5, across, below)
        draw_histogram(axes, histogram_of(plane.image, 64, limits), is_log=log, is_small=True)
    return figure


def draw_histogram(axes: Any, found: Histogram, *, is_log: bool, is_small: bool = False) -> None:
    """Draw counts as an area, and the cumulative distribution as a line on a scale of its own."""
    axes.stairs(100 * found.shares, found.edges, fill=True, color="#8c8c8c", linewidth=0)
    axes.set_xlim(found.edges[0], found.edges[-1])
    axes.set_xlabel("gray level", fontsize=9, color=INK)
    if is_log:
        axes.set_yscale("log")
    twin = axes.twinx()
    twin.plot(found.edges[1:], 100 * found.cumulative, color=TAIL, linewidth=1.6)
    twin.set_ylim(0, 103)
    for each in (axes, twin):
        each.tick_params(labelsize=8, colors=INK, length=3)
        for side in ("top", "left", "right"):
            each.spines[side].set_visible(False)
        each.spines["bottom"].set_color("#bbbbbb")
    twin.tick_params(axis="y", colors=TAIL)
    if is_small:
        axes.set_yticks([])
        twin.set_yticks([0, 50, 100], ["0", "50", "100 %"])
        twin.tick_params(axis="y", length=0, labelsize=6, pad=2)
    else:
        axes.set_ylabel("voxels (%)", fontsize=9, color=INK)
        twin.set_ylabel("cumulative (%)", fontsize=9, color=TAIL)


def _mark(axes: Any, plane: Plane, volume: Volume, indices: Mapping[str, int]) -> None:
    """Draw where the two other planes cross this one."""
    for axis in volume.axes:
        position = float(axis.edges[indices[axis.name]] + axis.edges[indices[axis.name] + 1]) / 2
        line = {"color": COLORS[axis.name], "linewidth": 0.9, "alpha": 0.85, "dashes": (6, 4)}
        if axis.name == plane.rows.name:
            axes.axhline(position, **line)
        elif axis.name == plane.columns.name:
            axes.axvline(position, **line)


def _describe(axes: Any, plane: Plane, spot: tuple[float, float, float, float]) -> None:
    """Frame one of three planes, and label the axes that it does not share with another one."""
    name, (_, _, width, height) = plane.cut.name, spot
    frame(axes, COLORS[name])
    if min(width, height) > READABLE:
        label(axes, plane.cut.title)
    if name == "z":
        draw_scale_bar(axes, plane.columns.span, plane.columns.unit)
        axes.tick_params(labelbottom=False, bottom=False)
    elif width > READABLE:
        axes.set_xlabel(plane.columns.label, fontsize=9, color=INK)
    else:
        axes.set_xticks([])
    if name == "x":
        axes.tick_params(labelleft=False, left=False)
    elif height > READABLE:
        axes.set_ylabel(plane.rows.label, fontsize=9, color=INK)
    else:
        axes.set_yticks([])


def _level(gray: float) -> str:
    """Return a gray level in four digits, or as many as it has before the point."""
    return f"{gray:.0f}" if abs(gray) >= 1000 else f"{gray:.4g}"


def _size(width: float) -> float:
    """Return the size of letters in a panel, for its width in inches."""
    return min(8.0, 5.0 + 1.2 * width)


def _columns(count: int, aspect: float, wanted: float = 1.5) -> int:
    """Return how many panels are to stand side by side, for a figure of the wanted shape."""

    def misfit(columns: int) -> float:
        rows = -(-count // columns)
        return (
            abs(math.log(columns * aspect / rows / wanted)) + 2 * (rows * columns - count) / count
        )

    return min(range(1, count + 1), key=misfit)
