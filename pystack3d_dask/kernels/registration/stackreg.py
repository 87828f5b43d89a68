"""StackReg behind two functions: the only place that knows pystackreg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pystack3d_dask.core.typing import Array

if TYPE_CHECKING:
    from pystackreg import StackReg

Transformation = Literal["TRANSLATION", "RIGID_BODY", "SCALED_ROTATION", "AFFINE"]

SMALLEST = 12  # rows and columns that its pyramids need; on less it may crash the process


def register(reference: Array, image: Array, transformation: Transformation) -> Array:
    """Return the transformation that lays an image on a reference.

    Parameters
    ----------
    reference, image : ndarray, shape (rows, columns)
        12 x 12 pixels or more.
    transformation : {"TRANSLATION", "RIGID_BODY", "SCALED_ROTATION", "AFFINE"}
        The model.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        On (x, y, 1), from coordinates in the reference to those in the image. It depends on
        nothing but the two images.
    """
    found = _model(transformation).register(
        np.ascontiguousarray(reference), np.ascontiguousarray(image)
    )
    return np.array(found, np.float64)


def transform(image: Array, matrix: Array) -> Array:
    """Return the image resampled by StackReg's cubic splines.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type.
    matrix : ndarray, shape (3, 3)
        From output to input coordinates.

    Returns
    -------
    ndarray of float64, shape (rows, columns)
        0 where the image does not reach.
    """
    return np.asarray(_model("AFFINE").transform(np.ascontiguousarray(image), tmat=matrix))


def _model(transformation: Transformation) -> StackReg:
    from pystackreg import StackReg  # not at the top: workers start sooner

    return StackReg(getattr(StackReg, transformation))
