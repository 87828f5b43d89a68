"""Faces that a microscope has before it, and the interface of every defect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ruler.acquired import Array

NO_DATA = 0.0
"""Pixels that are exactly this have no data: no noise is added to them."""


@dataclass(frozen=True)
class Faces:
    """The slices of a specimen without any defect, in their places.

    Parameters
    ----------
    clean : ndarray of float32, shape (slices, rows, columns)
        Gray levels of 255.
    pores : ndarray of bool, shape (slices, rows, columns)
        Where they are of the dark class.
    shifts : ndarray of float64, shape (slices, 2)
        Pixels by which they lie down and to the right of the first one.
    """

    clean: Array
    pores: Array
    shifts: Array

    @property
    def level(self) -> float:
        """Mean gray level."""
        return float(self.clean.mean())


class Defect(Protocol):
    """Something that a microscope does to a stack."""

    def damage(self, stack: Array, faces: Faces, rng: np.random.Generator) -> Array:
        """Return the stack with this defect, as new float32 of shape (slices, rows, columns).

        Parameters
        ----------
        stack : ndarray of float32, shape (slices, rows, columns)
            The faces with the defects that happened before; never changed.
        faces : Faces
            The faces without any defect.
        rng : numpy.random.Generator
            Decides everything that the fields of the defect leave open.
        """
        ...


class Noise(Protocol):
    """Something random that a microscope adds, known by itself."""

    def of(self, stack: Array, rng: np.random.Generator) -> Array:
        """Return what is added to a stack, float32 of its shape."""
        ...


def float32(stack: Array) -> Array:
    """Return a new array of float32 with these values."""
    return np.array(stack, np.float32)
