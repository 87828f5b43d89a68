"""Figures of planes: where panels lie, how images, scale bars and labels are drawn."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pystack3d_dask.explore.volume import SLIMMEST, Plane

# Okabe and Ito, told apart by everyone, one for the planes across each axis
COLORS = {"z": "#E69F00", "y": "#56B4E9", "x": "#009E73"}
INK = "#333333"
UNITS = [("mm", 1e3), ("µm", 1.0), ("nm", 1e-3)]
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
