"""A widget to go through a volume plane by plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pystack3d_dask.core.spec import AXES
from pystack3d_dask.errors import StackError
from pystack3d_dask.explore.boxes import Box, mark_plane
from pystack3d_dask.explore.drawing import COLORS, INK, Limits, Picture, draw_plane
from pystack3d_dask.explore.volume import Plane, Volume, as_volume, gray_limits, load, spans
from pystack3d_dask.viz.scale_bar import draw_scale_bar

if TYPE_CHECKING:
    import ipywidgets

WIDTH, HEIGHT = 5.6, 5.0  # inches, of a plane at most
BOX = 2.3  # inches
MOST = 700  # voxels along an axis of a picture
GRAYS = 256  # steps of the slider of gray levels


def browse(
    stack: Any, *, channel: int | str = 0, limits: Limits | None = None, most: int = MOST
) -> ipywidgets.VBox:
    """Go through a stack with sliders, in Jupyter.

    Loads the plane that is shown, when a slider is let go, and nothing else; another black
    or white loads nothing. A plane across y or x takes a row or column of every slice, of
    more than ``most`` slices of every n-th.

    Parameters
    ----------
    stack : DataArray or array-like
        From `open_stack`, `open_result` or a correction, see `planes`.
    channel : int or str
        Place or name of the channel.
    limits : tuple of float, optional
        The gray levels drawn black and white in the beginning; by default the percentiles
        0.5 and 99.5 of the first plane.
    most : int
        Voxels along each axis of the picture: more rows or columns are averaged.

    Returns
    -------
    ipywidgets.VBox
        The controls (axis, index, gray levels), and the picture.

    Raises
    ------
    StackError
        Without ipywidgets, and when ``stack`` is no stack or has no such channel.
    """
    try:
        import ipywidgets
    except ImportError as error:
        message = (
            "browse needs ipywidgets, which is not installed: "
            "pip install 'pystack3d-dask[notebook]'"
        )
        raise StackError(message) from error
    return _Browser(ipywidgets, as_volume(stack, channel), limits, most).widget


class _Browser:
    """The controls, what they do, and the plane that is shown."""

    def __init__(self, widgets: Any, volume: Volume, limits: Limits | None, most: int) -> None:
        self._volume, self._most = volume, most
        self._plane = self._load("z", None)
        found = self._plane.image
        low, high = limits or gray_limits([found])
        ends = gray_limits([found], (0, 100))
        least, largest = min(low, ends[0]), max(high, ends[1])
        step = 1.0 if found.dtype.kind in "iu" else (largest - least) / GRAYS
        self._axis = widgets.ToggleButtons(
            options=[("xy", "z"), ("xz", "y"), ("zy", "x")],
            value="z",
            style={"button_width": "3em"},
        )
        self._index = widgets.IntSlider(
            value=self._plane.cut.index,
            min=0,
            max=len(volume.axes[0]) - 1,
            description="z",
            continuous_update=False,
        )
        self._grays = widgets.FloatRangeSlider(
            value=(low, high),
            min=least,
            max=largest,
            step=step,
            description="gray",
            readout_format=".4g",
            continuous_update=False,
        )
        self._picture = widgets.Image(format="png", layout={"width": "860px", "max_width": "100%"})
        self._axis.observe(self._turn, "value")
        self._index.observe(self._move, "value")
        self._grays.observe(self._draw, "value")
        controls = widgets.HBox([self._axis, self._index, self._grays])
        self.widget = widgets.VBox([controls, self._picture])
        self._draw()

    def _load(self, name: str, index: int | None) -> Plane:
        (plane,) = load([self._volume.cut(name, index, self._most)])
        return plane.turned() if name == "x" else plane

    def _turn(self, change: Any) -> None:
        name = change["new"]
        self._index.unobserve(self._move, "value")  # which would load the plane for each change
        extent = len(self._volume.axes[AXES.index(name)])
        self._index.value, self._index.max = 0, extent - 1
        self._index.value, self._index.description = extent // 2, name
        self._index.observe(self._move, "value")
        self._move()

    def _move(self, _: Any = None) -> None:
        self._plane = self._load(self._axis.value, self._index.value)
        self._draw()

    def _draw(self, _: Any = None) -> None:
        self._picture.value = _picture(self._volume, self._plane, self._grays.value).as_png()


def _picture(volume: Volume, plane: Plane, limits: Limits) -> Picture:
    """Draw a plane, and beside it where it lies."""
    high, wide = spans(plane.rows, plane.columns)
    scale = min(WIDTH / wide, HEIGHT / high)
    left, bottom, top = 0.75, 0.6, 0.35
    figure = Picture(left + WIDTH + BOX + 0.2, bottom + HEIGHT + top)
    at = left + (WIDTH - scale * wide) / 2, bottom + (HEIGHT - scale * high) / 2
    axes = figure.panel(*at, scale * wide, scale * high)
    draw_plane(axes, plane, limits)
    draw_scale_bar(axes, plane.columns.span, plane.columns.unit)
    axes.set_xlabel(plane.columns.label, fontsize=9, color=INK)
    axes.set_ylabel(plane.rows.label, fontsize=9, color=INK)
    name = plane.cut.name
    axes = figure.panel(left + WIDTH + 0.15, bottom + HEIGHT - BOX, BOX, BOX)
    mark_plane(axes, Box.of(volume), name, plane.cut.index)
    axes.set_title(plane.cut.title, fontsize=10, color=COLORS[name])
    return figure
