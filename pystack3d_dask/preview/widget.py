"""A view for notebooks: previews with controls for the slice and the parameters of a step."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from math import log10
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pystack3d_dask.errors import StackError
from pystack3d_dask.preview.pictures import png
from pystack3d_dask.preview.preview import Preview, chosen_slice, preview
from pystack3d_dask.preview.workbench import Memory, Workbench, level_after
from pystack3d_dask.project.parameters import with_parameters
from pystack3d_dask.project.project import Project

if TYPE_CHECKING:
    from pystack3d_dask.core.area import Area

P = TypeVar("P")
UNSEEN = ("checkpoint",)  # parameters that change nothing in a picture
DECADES = 2  # to each side of a positive number
TURN = 90.0  # to each side of a number that is 0, such as an angle


class PreviewWidget(Generic[P]):
    """A picture of a slice before and after a step, with controls beside it.

    There is a slider for each number of the step that is set, a box for what is true or
    false, a list for what is one of some words. Parameters that are not set have none.

    Parameters
    ----------
    project : Project
        The corrections and their stack.
    made : callable
        Makes the attribute ``pipeline`` of a project.
    z, area, step : optional
        As for `Pipeline.preview_widget`.

    Attributes
    ----------
    z : ipywidgets.IntSlider
        The slice.
    controls : dict
        Widgets by the path of their parameter.
    picture, message : ipywidgets.Image, ipywidgets.HTML
        What is seen, and what was changed or is wrong.
    preview : Preview
        What the picture shows.
    pipeline : Pipeline
        With the parameters that are set.

    Raises
    ------
    StackError
        When ipywidgets is not installed.
    """

    def __init__(
        self,
        project: Project,
        made: Callable[[Project], P],
        *,
        z: int | None = None,
        area: Area | None = None,
        step: str | None = None,
    ) -> None:
        widgets = _ipywidgets()
        end = level_after(project.steps, step)
        chosen = project.steps[end - 1]
        slices = project.chains()[0].levels[end].shape[0]
        self._start, self._made = project, made
        self._step, self._area = chosen.name, area
        self._base, self._memory = end - 1, Memory()
        self.z = widgets.IntSlider(
            chosen_slice(slices, z), 0, slices - 1, description="z", continuous_update=False
        )
        self.controls = {
            path: _control(widgets, path, value, choices)
            for path, value, choices in _parameters(chosen, type(chosen), chosen.name)
        }
        self._first = {path: control.value for path, control in self.controls.items()}
        self.picture = widgets.Image(format="png")
        self.message = widgets.HTML()
        side = widgets.VBox([self.z, *self.controls.values(), self.message])
        self.picture.layout.width = "100%"
        self.box = widgets.VBox([self.picture, side])
        self.pipeline: P
        self.preview: Preview
        self._show()
        for control in (self.z, *self.controls.values()):
            control.observe(self._update, names="value")

    @property
    def changes(self) -> dict[str, Any]:
        """The parameters that were changed, by path."""
        return {
            path: _rounded(control.value)
            for path, control in self.controls.items()
            if control.value != self._first[path]
        }

    def _update(self, _: Any) -> None:
        try:
            self._show()
        except StackError as error:
            self.message.value = f"<pre style='color: firebrick'>{html.escape(str(error))}</pre>"

    def _show(self) -> None:
        changes = self.changes
        project = with_parameters(self._start, changes)
        bench = Workbench(project, self._base, memory=self._memory)
        self.preview = preview(
            project, z=self.z.value, area=self._area, step=self._step, bench=bench
        )
        self.pipeline = self._made(project)
        self.picture.value = png(self.preview.plot())
        lines = [f"{path} = {json.dumps(value)}" for path, value in changes.items()]
        self.message.value = f"<pre>{html.escape(chr(10).join(lines))}</pre>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        message = "the view needs ipywidgets: pip install 'pystack3d-dask[notebook]'"
        raise StackError(message) from error
    return ipywidgets


def _parameters(value: Any, hint: Any, path: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield the single values that are set in a parameter: path, value, what else it can be."""
    if is_dataclass(value):
        hints = get_type_hints(type(value))
        for field in fields(value):
            if field.name not in UNSEEN:
                inner = getattr(value, field.name), hints[field.name]
                yield from _parameters(*inner, f"{path}.{field.name}")
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from _parameters(each, type(each), f"{path}[{index}]")
    elif value in (choices := _choices(hint)):
        yield path, value, choices
    elif isinstance(value, int | float):
        yield path, value, []


def _control(widgets: Any, path: str, value: Any, choices: list[Any]) -> Any:
    """Return what changes a value: a list, a box or a slider."""
    look = {
        "value": value,
        "description": path.partition(".")[2],
        "style": {"description_width": "initial"},
        "layout": {"width": "30em"},
    }
    if choices:
        return widgets.Dropdown(options=choices, **look)
    if isinstance(value, bool):
        return widgets.Checkbox(**look)
    look["continuous_update"] = False
    if isinstance(value, int):
        most = max(4 * abs(value), 16)
        return widgets.IntSlider(min=-most if value < 0 else 0, max=most, **look)
    if value > 0:
        low, high = log10(value) - DECADES, log10(value) + DECADES
        return widgets.FloatLogSlider(min=low, max=high, step=0.05, readout_format=".3g", **look)
    farthest = max(TURN, 2 * abs(value))
    return widgets.FloatSlider(min=-farthest, max=farthest, **look)


def _choices(hint: Any) -> list[Any]:
    """Return the words that a parameter can be, none if it is no choice between words."""
    members = (hint,) if get_origin(hint) is Literal else get_args(hint)
    return [each for one in members if get_origin(one) is Literal for each in get_args(one)]


def _rounded(value: Any) -> Any:
    """Return a value as one would write it: numbers of sliders have too many digits."""
    return float(f"{value:.3g}") if isinstance(value, float) else value
