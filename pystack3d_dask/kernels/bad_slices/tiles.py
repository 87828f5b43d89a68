"""The tiles that slices are looked at in."""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array

TILES = 8  # along each axis
SMALLEST = 6  # pixels or cells along a side of a tile


def tile_edges(extent: int) -> Array:
    """Return where the tiles along an axis of ``extent`` pixels or cells begin and end."""
    count = min(max(extent // SMALLEST, 1), TILES)
    return np.linspace(0, extent, count + 1).astype(np.int64)
