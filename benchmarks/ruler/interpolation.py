"""Interpolation of slices, between pixels and along z, by the schemes of a program.

A perfect program that interpolates smooths the noise, too, by as much as its scheme does. So the
noise of a result is compared with the same noise, sent by the same scheme: this package's own
kernels, which know all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.corrections.positions import neighbors
from pystack3d_dask.kernels.registration.interpolation import Scheme
from pystack3d_dask.kernels.registration.warp import warp_affine
from pystack3d_dask.kernels.slice_weights import slice_weights


@dataclass(frozen=True)
class Interpolation:
    """The schemes by which a program interpolates.

    Parameters
    ----------
    in_plane, along_z : {"linear", "catmull-rom", "cubic", "lanczos3", "whole"}
        Between pixels and between slices; "whole" where it moves none.
    """

    in_plane: Scheme = "whole"
    along_z: Scheme = "whole"

    def moved(self, image: Array, down: float, right: float) -> Array:
        """Return an image moved down and to the right; its outermost pixels go on beyond it."""
        matrix = np.array([[1, 0, -right], [0, 1, -down], [0, 0, 1]], float)
        out = np.empty(image.shape, np.float32)
        warp_affine(np.asarray(image, np.float32), matrix, "edge", out, (0, 0), self.in_plane)
        return out

    def weights(self, depths: Array, of_slices: Array) -> list[dict[int, float]]:
        """Return the slices that count at each depth, and how much they do.

        Parameters
        ----------
        depths : ndarray, shape (outputs,)
            Those beyond the slices become those of the first or the last one.
        of_slices : ndarray, shape (slices,)
            Ascending.
        """
        within = np.clip(depths, of_slices[0], of_slices[-1])
        first, weights = slice_weights(of_slices, *neighbors(of_slices, within), self.along_z)
        return [
            {int(start + k): float(row[k]) for k in np.flatnonzero(row)}
            for start, row in zip(first, weights, strict=True)
        ]


UNMOVED = Interpolation()
LINEAR = Interpolation("linear", "linear")
