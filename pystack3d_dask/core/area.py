"""Rectangles as users write them: ``[xmin, xmax, ymin, ymax]``, origin bottom left."""

from __future__ import annotations

from collections.abc import Iterator

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.errors import Problem

Area = tuple[int, int, int, int]

TO_THE_EDGE = 99999  # PyStack3D's way to write "as far as the image goes"


def area_region(area: Area | None, spec: StackSpec) -> Region:
    """Return the region of an area over all slices, clipped to the image.

    Parameters
    ----------
    area : tuple of int, optional
        ``(xmin, xmax, ymin, ymax)`` in pixels, half-open, y counted upwards from the
        bottom row; None stands for the whole image.
    spec : StackSpec
        The stack.

    Returns
    -------
    Region
        Rows ``height - ymax`` to ``height - ymin``.
    """
    if area is None:
        return spec.region
    xmin, xmax, ymin, ymax = area
    slices, height, _ = spec.shape
    return Region((0, height - ymax, xmin), (slices, height - ymin, xmax)).clipped(spec.shape)


def check_area(path: str, area: Area | None, spec: StackSpec) -> Iterator[Problem]:
    """Yield an error for an area that selects nothing, a warning for one that is clipped."""
    if area is None:
        return
    _, height, width = spec.shape
    xmin, xmax, ymin, ymax = area
    given = f"[xmin, xmax, ymin, ymax] = {list(area)}"
    image = f"the image of {width} x {height} pixels (x, y)"
    if not area_region(area, spec).size:
        yield Problem(path, f"{given} selects nothing of {image}; xmin < xmax, ymin < ymax needed")
    elif min(xmin, ymin) < 0 or _surpasses(xmax, width) or _surpasses(ymax, height):
        kept = [max(xmin, 0), min(xmax, width), max(ymin, 0), min(ymax, height)]
        yield Problem(path, f"{given} is clipped to {kept}, {image}", "warning")


def _surpasses(limit: int, extent: int) -> bool:
    return extent < limit < TO_THE_EDGE
