"""A slice in the box of its volume, in parallel projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.transforms import Affine2D

from pystack3d_dask.core.spec import AXES
from pystack3d_dask.core.typing import Array
from pystack3d_dask.explore.drawing import COLORS, INK, SHADE, Limits
from pystack3d_dask.explore.volume import Axis, Plane, Volume

ANGLE = np.deg2rad(32)  # in which depth goes up to the right
FORESHORTENED = 0.5
SHALLOWEST, DEEPEST = 0.25, 1.2  # depth on paper, of the larger side of a slice
MARGIN = 0.11  # around the box, of its larger side on paper
FAR, LIGHT, DARK = "#9a9a9a", "white", "black"


@dataclass(frozen=True)
class Box:
    """Where a volume lies on paper, x to the right and y downwards.

    Slices are not distorted; depth is drawn at half its length as in a cabinet projection,
    but never so short that it vanishes nor so long that the slice does.

    Parameters
    ----------
    axes : tuple of Axis
        z, y and x of the volume.
    depth, down, across : ndarray of float, shape (2,)
        Its edges along z, y and x on paper.
    """

    axes: tuple[Axis, Axis, Axis]
    depth: Array
    down: Array
    across: Array

    @classmethod
    def of(cls, volume: Volume) -> Box:
        """Return the box of a volume."""
        thick, high, wide = (axis.span for axis in volume.axes)
        side = max(high, wide)
        drawn = min(max(FORESHORTENED * thick, SHALLOWEST * side), DEEPEST * side)
        depth = drawn * np.array([np.cos(ANGLE), -np.sin(ANGLE)])
        return cls(volume.axes, depth, np.array([0.0, high]), np.array([wide, 0.0]))

    def share(self, index: int, name: str = "z") -> float:
        """Return how much of the box lies before a voxel of an axis."""
        edges = self.axes[AXES.index(name)].edges
        return float((edges[index] - edges[0]) / (edges[-1] - edges[0]))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the picture, with room for what is written."""
        corner = self.depth + self.down + self.across
        right, bottom, top = float(corner[0]), float(self.down[1]), float(self.depth[1])
        margin = MARGIN * max(right, bottom - top)
        return -margin, right + margin, bottom + margin, top - margin / 2


def draw_box(axes: Any, box: Box, found: Sequence[Plane], limits: Limits) -> None:
    """Draw the outline of a volume, a slice in it, and the faces behind that if they are given.

    Parameters
    ----------
    axes : Axes
        Where; they are scaled to the box.
    box : Box
        The volume.
    found : sequence of Plane
        The slice; then the first row and the last column of all slices, or nothing.
    limits : tuple of float
        Gray levels drawn black and white.
    """
    plane, *faces = found
    share = box.share(plane.cut.index)
    corner, behind = share * box.depth, (1 - share) * box.depth
    _draw_edges(axes, box, corner, box.depth, FAR, zorder=1)
    starts = ((corner, box.across, LIGHT), (corner + box.across, box.down, DARK))
    for face, (start, along, light) in zip(faces, starts, strict=False):
        image = face.even()
        image = image[round(share * len(image)) :]
        if len(image):
            _draw_image(axes, image, start, along, behind, limits, light=light, zorder=2)
    _draw_image(axes, plane.even(), corner, box.across, box.down, limits, zorder=3)
    _draw_edges(axes, box, 0 * corner, corner, INK, zorder=4)
    outline = [corner, corner + box.across, corner + box.across + box.down, corner + box.down]
    axes.fill(*np.array(outline).T, fill=False, edgecolor=COLORS["z"], linewidth=2, zorder=5)
    _write(axes, box, plane.cut.title, corner)
    left, right, bottom, top = box.bounds
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_axis_off()


def mark_plane(axes: Any, box: Box, name: str, index: int) -> None:
    """Draw the outline of a volume, and in it where the plane across an axis lies."""
    zero = 0 * box.depth
    _draw_edges(axes, box, zero, box.depth, FAR, zorder=1)
    edges = {"z": box.depth, "y": box.down, "x": box.across}
    corner = box.share(index, name) * edges.pop(name)
    one, two = edges.values()
    outline = np.array([corner, corner + one, corner + one + two, corner + two])
    color = COLORS[name]
    axes.fill(*outline.T, facecolor=f"{color}66", edgecolor=color, linewidth=1.5, zorder=2)
    left, right, bottom, top = box.bounds
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_axis_off()


def _draw_image(
    axes: Any,
    image: Array,
    corner: Array,
    across: Array,
    down: Array,
    limits: Limits,
    *,
    zorder: float,
    light: str | None = None,
) -> None:
    """Draw an image as a parallelogram, at ``corner``, with some light on it."""
    rows, columns = image.shape
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = across / columns, down / rows, corner
    shown = axes.imshow(
        image,
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        extent=(0, columns, rows, 0),
        interpolation="antialiased",
        zorder=zorder,
    )
    shown.set_transform(Affine2D(matrix) + axes.transData)
    if light is not None:
        outline = np.array([corner, corner + across, corner + across + down, corner + down])
        axes.fill(*outline.T, color=light, alpha=0.2, linewidth=0, zorder=zorder + 0.5)


def _draw_edges(
    axes: Any, box: Box, front: Array, back: Array, color: str, *, zorder: float
) -> None:
    """Draw the box between two places along its depth."""
    ring = [0 * box.down, box.across, box.across + box.down, box.down]
    lines = [[front + corner, back + corner] for corner in ring]
    lines += [[end + corner for corner in (*ring, ring[0])] for end in (front, back)]
    for line in lines:
        axes.plot(*np.array(line).T, color=color, linewidth=0.9, zorder=zorder)


def _write(axes: Any, box: Box, title: str, corner: Array) -> None:
    """Write how long the box is along each axis, and which slice it is."""
    z, y, x = (f"{axis.name}: {axis.span:.4g} {axis.unit}" for axis in box.axes)
    if not box.axes[0].is_known:
        z = f"z: {len(box.axes[0])} slices"
    middle = box.across + box.down + box.depth / 2
    small = {"textcoords": "offset points", "fontsize": 9, "color": INK}
    axes.annotate(x, box.down + box.across / 2, (0, -6), ha="center", va="top", **small)
    axes.annotate(y, box.down / 2, (-6, 0), ha="right", va="center", rotation=90, **small)
    axes.annotate(z, middle, (8, -6), ha="left", va="top", **small)
    small |= {"fontsize": 10, "color": COLORS["z"]}
    axes.annotate(title, corner, (7, -7), ha="left", va="top", zorder=6, bbox=SHADE, **small)
