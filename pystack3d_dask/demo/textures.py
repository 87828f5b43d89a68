"""Specimens: gray levels as functions of the position in a volume, 0 black and 1 white.

Each function takes a plane and the typical distance between features in pixels. Surfaces
are level sets of smooth fields; a field divided by its slope is about a distance in pixels,
so that edges are as sharp as those of a focused beam at any size of the features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.demo.fields import Plane, smooth_field
from pystack3d_dask.kernels.jit import compiled

FINITE = {"nnan", "ninf", "nsz", "arcp"}
Texture = Literal["porous", "cellular"]

PORE, WALL, GRAY_PHASE, BRIGHT_PHASE = 0.20, 0.31, 0.48, 0.60
"""Gray levels of the porous texture: deep pores, pores with a wall close below, two solids."""
RESIN, MEMBRANE = 0.60, 0.25
"""Gray levels of the cellular texture: the plasma of the brightest cells, membranes."""
CELLS = 6
"""Fields that compete for the voxels of the cellular texture."""


def porous(plane: Plane, feature: float) -> Array:
    """Return a slice of an electrode: two solid phases, and pores large and small.

    A quarter of the volume is pores. One sees into them: the wall below shines through.

    Parameters
    ----------
    plane : Plane
        Where.
    feature : float
        Typical distance between large pores in pixels.
    """
    large, small = feature / 2, feature / 5
    coarse = smooth_field(plane, "large pores", large)
    rough = smooth_field(plane, "small pores", small)
    out = np.empty(plane.shape, np.float32)
    _porous(
        coarse,
        smooth_field(plane, "large pores", large, depth=large / 2),
        rough,
        smooth_field(plane, "phase", 0.7 * feature),
        smooth_field(plane, "grains", feature / 3),
        (large, small, 0.7 * feature),
        out,
    )
    return out


def cellular(plane: Plane, feature: float) -> Array:
    """Return a slice of stained tissue: cells with membranes, mitochondria, vesicles, reticulum.

    Parameters
    ----------
    plane : Plane
        Where.
    feature : float
        Typical diameter of a cell's section in pixels.
    """
    first, second = np.full((2, *plane.shape), -np.inf, np.float32)
    owner = np.zeros(plane.shape, np.uint8)
    elongated = (2 * feature, feature, feature)  # as fibers in a bundle are
    for cell in range(CELLS):
        # A voxel belongs to the cell whose field is highest; at a membrane two are equal.
        _contest(smooth_field(plane, f"cell {cell}", elongated), cell, first, second, owner)
    inner = feature / 2.2, max(3.0, feature / 9), feature / 4
    out = np.empty(plane.shape, np.float32)
    _cellular(
        np.subtract(first, second, out=first),
        owner,
        smooth_field(plane, "mitochondria", inner[0]),
        smooth_field(plane, "cristae", 0.6 * inner[0]),
        smooth_field(plane, "vesicles", inner[1]),
        smooth_field(plane, "reticulum", inner[2]),
        smooth_field(plane, "granules", 3),
        (feature, *inner),
        out,
    )
    return out


TEXTURES: dict[Texture, Callable[[Plane, float], Array]] = {
    "porous": porous,
    "cellular": cellular,
}


@compiled(fastmath=FINITE)
def _rise(value: float) -> float:
    """Return a smooth step from 0 at -1 to 1 at 1."""
    t = min(max(0.5 * value + 0.5, 0.0), 1.0)
    return t * t * (3 - 2 * t)


@compiled(fastmath=FINITE)
def _ridge(value: float) -> float:
    """Return a smooth bump, 1 at 0 and 0 beyond 1 and -1."""
    t = max(0.0, 1 - value * value)
    return t * t


@compiled(fastmath=FINITE)
def _porous(
    coarse: Array,
    below: Array,
    rough: Array,
    phase: Array,
    grains: Array,
    periods: tuple[float, float, float],
    out: Array,
) -> None:
    large, small, patch = periods
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            # pixels into the pore, negative in the solid
            in_large = (coarse[y, x] + 0.3 * rough[y, x] - 0.85) * large * 0.9
            in_small = (rough[y, x] - 1.75) * small * 0.9
            inside = max(in_large, in_small)
            bright = _rise((phase[y, x] + 0.2 * grains[y, x] - 0.45) * patch * 0.6)
            solid = GRAY_PHASE + (BRIGHT_PHASE - GRAY_PHASE) * bright + 0.012 * grains[y, x]
            # slopes emit more electrons: the rim of a pore is bright
            solid += 0.05 * _ridge((in_large + 1.5) / 2.5)
            wall = _rise(1.2 * (0.9 - below[y, x])) * _rise(1 - in_large / large)
            pore = PORE + (WALL - PORE) * max(wall, 0.4 * (in_large < in_small))
            out[y, x] = solid + (pore - solid) * _rise(inside / 1.2)


@compiled()
def _contest(field: Array, cell: int, first: Array, second: Array, owner: Array) -> None:
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            value = field[y, x]
            if value > first[y, x]:
                second[y, x] = first[y, x]
                first[y, x] = value
                owner[y, x] = cell
            elif value > second[y, x]:
                second[y, x] = value


@compiled(fastmath=FINITE)
def _cellular(
    gap: Array,
    owner: Array,
    mitochondria: Array,
    cristae: Array,
    vesicles: Array,
    reticulum: Array,
    granules: Array,
    periods: tuple[float, float, float, float],
    out: Array,
) -> None:
    feature, body, bubble, sheet = periods
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            cell = owner[y, x]
            to_membrane = gap[y, x] * feature * 0.5
            value = RESIN - 0.022 * ((cell * 3) % CELLS) + 0.022 * granules[y, x]
            room = _rise((to_membrane - 5) / 2)
            if cell % 3 == 1:  # full of vesicles: dark skin, bright inside
                into = (vesicles[y, x] - 1.2) * bubble * 0.7
                value += room * (0.05 * _rise(into) - 0.22 * _ridge((into - 0.2) / 1.6))
            else:
                across = reticulum[y, x] * sheet * 0.8
                present = room * _rise(4 * (cristae[y, x] - 0.3))
                lumen, skin = _ridge(across / 2.5), _ridge((abs(across) - 2.4) / 1.5)
                value += present * (0.05 * lumen - 0.16 * skin)

            into = min((mitochondria[y, x] - 1.15) * body * 0.8, to_membrane - 5)
            lamella = cristae[y, x] * body * 0.6 / 4.2
            stripe = _ridge(2 * (lamella - np.rint(lamella)) / 0.7)
            matrix = 0.43 - 0.09 * stripe * _rise((into - 2.5) / 1.5)
            value += (matrix - value) * _rise(into)
            value -= 0.2 * _ridge(into / 1.7)
            value += (MEMBRANE - value) * _ridge(to_membrane / 2.6)
            out[y, x] = value
