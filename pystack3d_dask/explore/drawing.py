"""Figures of planes: where panels lie, how images, scale bars and labels are drawn."""

from __future__ import annotations

import io
from math import floor, log10
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
from matplotlib.patches import Rectangle

from pystack3d_dask.explore.volume import MICROMETERS, SLIMMEST, Axis, Plane

# Okabe and Ito, told apart by everyone, one for the planes across each axis
COLORS = {"z": "#E69F00", "y": "#56B4E9", "x": "#009E73"}
INK = "#333333"
UNITS = [("mm", 1e3), ("µm", 1.0), ("nm", 1e-3)]
BAR_SHARE = 0.25  # of the width, at most
SHADE = {"boxstyle": "round,pad=0.25", "facecolor": "black", "edgecolor": "none", "alpha": 0.55}
Limits = tuple[float, float]


class Picture(Figure):
    """A figure that notebooks show whether pyplot is in use or not."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=120, facecolor="white")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return self.as_png()

    def as_png(self) -> bytes:
        """Return the picture as the content of a PNG file."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()

    def panel(self, left: float, bottom: float, width: float, height: float, **given: Any) -> Any:
        """Return new axes at a place given in inches."""
        across, up = self.get_size_inches()
        rectangle = (left / across, bottom / up, width / across, height / up)
        return self.add_axes(rectangle, **given)


def draw_plane(axes: Any, plane: Plane, limits: Limits) -> Any:
    """Draw an image at its place, in gray, as wide and high as it is unless it is too slim."""
    wide, high = plane.columns.span, plane.rows.span
    shown = axes.imshow(
        plane.even(),
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        extent=plane.extent,
        aspect="equal" if max(wide, high) <= SLIMMEST * min(wide, high) else "auto",
        interpolation="antialiased",
    )
    axes.tick_params(labelsize=8, colors=INK, length=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown


def frame(axes: Any, color: str) -> None:
    """Put a colored frame around a panel."""
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=1.6)


def label(axes: Any, text: str, size: float = 8, color: str = "white") -> None:
    """Write into the upper left corner of a panel."""
    axes.annotate(
        text,
        (0, 1),
        (5, -5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left",
        va="top",
        color=color,
        fontsize=size,
        bbox=SHADE,
    )


def draw_scale_bar(axes: Any, axis: Axis, size: float = 8) -> None:
    """Draw a bar of a round length into the lower right corner, with its length."""
    length, text = scale_bar(axis)
    share = length / axis.span
    box = AnchoredOffsetbox("lower right", pad=0.3, borderpad=0.5, frameon=True)
    bar = AuxTransformBox(axes.transAxes)
    bar.add_artist(Rectangle((0, 0), share, 0.012, facecolor="white", edgecolor="none"))
    words = TextArea(text, textprops={"color": "white", "fontsize": size})
    box.set_child(VPacker(children=[words, bar], align="center", pad=0, sep=2))
    box.patch.set(facecolor="black", alpha=0.5, edgecolor="none", boxstyle="round,pad=0.2")
    axes.add_artist(box)


def scale_bar(axis: Axis) -> tuple[float, str]:
    """Return a length of 1, 2 or 5 times a power of ten, a quarter of the axis at most.

    Returns
    -------
    length : float
        In the unit of the axis.
    text : str
        The same with its unit: nm, µm, mm or px.
    """
    most = BAR_SHARE * axis.span
    power = 10.0 ** floor(log10(most))
    length = max(factor * power for factor in (1, 2, 5) if factor * power <= most)
    if axis.unit != MICROMETERS:
        return length, f"{length:g} {axis.unit}"
    unit, size = next(
        (unit, size)
        for unit, size in (("mm", 1e3), ("µm", 1.0), ("nm", 1e-3))
        if length >= size or unit == "nm"
    )
    return length, f"{round(length / size, 9):g} {unit}"
