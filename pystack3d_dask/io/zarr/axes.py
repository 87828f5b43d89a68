"""Order of the axes of a Zarr array, as its metadata name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CANONICAL = "tczyx"
SYNONYMS = {
    "t": ("t", "time", "frame", "frames"),
    "c": ("c", "channel", "channels"),
    "z": ("z", "depth", "slice", "slices", "plane", "planes"),
    "y": ("y", "height", "row", "rows"),
    "x": ("x", "width", "col", "cols", "column", "columns"),
}
AXIS_OF = {name: axis for axis, names in SYNONYMS.items() for name in names}
UNNAMED = {2: "yx", 3: "zyx", 4: "czyx"}
BEFORE_VERSION_03 = ("0.1", "0.2")  # of OME-Zarr: axes have no names, and are always these five
MOST_SAMPLES = 4  # of a pixel in color


class AxesError(ValueError):
    """Axes that are no stack of slices, or names that do not say which is which."""


class Axes(NamedTuple):
    """Axes of an array.

    Parameters
    ----------
    order : str
        One letter of ``tczyx`` for each axis of the array, in any order.
    note : str
        What is worth saying about how they are taken; empty if nothing is.
    """

    order: str
    note: str = ""


def axes_of_array(names: Sequence[str | None] | None, shape: Sequence[int]) -> Axes:
    """Return the axes of an array by the names of its dimensions.

    Parameters
    ----------
    names : sequence of str or None, optional
        ``dimension_names`` of Zarr version 3, or ``_ARRAY_DIMENSIONS`` of xarray. In any order
        and case; depth, row, column, channel and the like are understood. Without names the
        axes are (y, x), (z, y, x) or (c, z, y, x).
    shape : sequence of int
        Of the array.

    Raises
    ------
    AxesError
        When names and shape are not those of slices, or some are not understood.
    """
    texts = [name or "" for name in names or ()]
    found = [AXIS_OF.get(text.casefold(), "") for text in texts]
    if texts and len(texts) != len(shape):
        msg = f"the array has {len(shape)} axes, and names for {len(texts)}: {_shown(texts)}"
        raise AxesError(msg)
    if all(found) and found:
        return _checked("".join(found), texts, shape)
    usual = UNNAMED.get(len(shape))
    if usual is None:
        msg = f"the array has {len(shape)} axes; expected (y, x), (z, y, x) or (c, z, y, x)"
        raise AxesError(msg)
    if any(known and known != axis for known, axis in zip(found, usual, strict=False)):
        msg = f"its axes are {_shown(texts)}; expected some of t, c, z, y, x: name them so"
        raise AxesError(msg)
    if len(shape) > 2 and shape[-1] <= MOST_SAMPLES < min(shape[-3:-1]):
        msg = (
            f"its shape is {tuple(shape)} without names of axes, and the last one looks like "
            "samples of color; expected (z, y, x) or (c, z, y, x): transpose it, or name the axes "
            "(dimension_names)"
        )
        raise AxesError(msg)
    told = any(
        text and text.casefold() not in AXIS_OF and not text.startswith(("dim_", "phony_dim_"))
        for text in texts
    )
    note = f"its axes {_shown(texts)} are taken for {_shown(usual)}" if told else ""
    return Axes(usual, note)


def is_named(names: Sequence[str | None] | None) -> bool:
    """Return whether names of dimensions say of every axis which one it is."""
    return bool(names) and all((name or "").casefold() in AXIS_OF for name in names or ())


def axes_of_image(multiscale: Mapping[str, Any], shape: Sequence[int]) -> Axes:
    """Return the axes of an OME-Zarr image, version 0.1 to 0.5, by its metadata.

    Parameters
    ----------
    multiscale : mapping
        An item of ``multiscales``.
    shape : sequence of int
        Of its arrays.

    Raises
    ------
    AxesError
        When axes are missing, are not those of slices, or are not understood.
    """
    version = str(multiscale.get("version", "0.5"))
    axes = multiscale.get("axes")
    if axes is None and version in BEFORE_VERSION_03 and len(shape) == len(CANONICAL):
        return Axes(CANONICAL)
    names = [axis_name(axis) for axis in axes] if isinstance(axes, Sequence) else []
    order = "".join(AXIS_OF.get(name.casefold(), "?") for name in names)
    if not order or "?" in order or len(order) != len(shape):
        msg = f"its axes are {axes} in version {version}; expected some of t, c, z, y, x"
        raise AxesError(msg)
    return _checked(order, names, shape)


def axis_name(axis: Any) -> str:
    """Return the name of an axis of OME-Zarr: an object, or in version 0.3 a string."""
    return str(axis.get("name", "") if isinstance(axis, Mapping) else axis)


def canonical(axis: Any) -> dict[str, Any]:
    """Return an axis of OME-Zarr as an object with one of the names ``t, c, z, y, x``."""
    fields = dict(axis) if isinstance(axis, Mapping) else {}
    return fields | {"name": AXIS_OF[axis_name(axis).casefold()]}


def _checked(order: str, names: Sequence[str], shape: Sequence[int]) -> Axes:
    if len(set(order)) < len(order) or not {"y", "x"} <= set(order):
        msg = f"its axes are {_shown(names)}; expected y and x, and each of t, c, z once at most"
        raise AxesError(msg)
    times = dict(zip(order, shape, strict=True)).get("t", 1)
    if times > 1:
        msg = (
            f"its axis t has {times} times; expected one: extract it, or name the axis z if these "
            "are slices"
        )
        raise AxesError(msg)
    usual = "".join(axis for axis in CANONICAL if axis in order)
    note = (
        "" if order == usual else f"its axes are {_shown(order)}, and are read as {_shown(usual)}"
    )
    return Axes(order, note)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(name or "(none)" for name in names)
