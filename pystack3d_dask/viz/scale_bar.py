"""A bar of a round length in the corner of a picture."""

from __future__ import annotations

from math import floor, log10
from typing import Any

from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
from matplotlib.patches import Rectangle

MICROMETERS = "µm"
SHARE = 0.25  # of the width, at most
HEIGHT = 0.012  # of the picture


def draw_scale_bar(axes: Any, width: float, unit: str, size: float = 8) -> None:
    """Draw a bar of a round length into the lower right corner, with its length.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        As wide as the picture.
    width : float
        Of the picture, in ``unit``.
    unit : str
        "µm", or what else the width is in, such as "pixels".
    size : float
        Of the letters, in points.
    """
    length, text = scale_bar(width, unit)
    box = AnchoredOffsetbox("lower right", pad=0.3, borderpad=0.5, frameon=True)
    bar = AuxTransformBox(axes.transAxes)
    bar.add_artist(Rectangle((0, 0), length / width, HEIGHT, facecolor="white", edgecolor="none"))
    words = TextArea(text, textprops={"color": "white", "fontsize": size})
    box.set_child(VPacker(children=[words, bar], align="center", pad=0, sep=2))
    box.patch.set(facecolor="black", alpha=0.5, edgecolor="none", boxstyle="round,pad=0.2")
    axes.add_artist(box)


def scale_bar(width: float, unit: str) -> tuple[float, str]:
    """Return a length of 1, 2 or 5 times a power of ten, a quarter of the width at most.

    Returns
    -------
    length : float
        In the unit of the width.
    text : str
        The same with a unit: nm, µm or mm where it is in micrometers.
    """
    most = SHARE * width
    power = 10.0 ** floor(log10(most))
    length = max(factor * power for factor in (1, 2, 5) if factor * power <= most * (1 + 1e-9))
    if unit != MICROMETERS:
        return length, f"{length:g} {unit}"
    name, scale = next(
        (name, scale)
        for name, scale in (("mm", 1e3), ("µm", 1.0), ("nm", 1e-3))
        if length >= scale or name == "nm"
    )
    return length, f"{round(length / scale, 9):g} {name}"
